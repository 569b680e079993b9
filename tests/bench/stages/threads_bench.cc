// SPDX-License-Identifier: Apache-2.0
// mailbox/threads/DEPTH: a bio to the reactor of another thread and back, both on real rings.
#include <benchmark/benchmark.h>

#include <semaphore>
#include <thread>

#include "core/ring.h"
#include "tests/bench/stages/bios.h"

namespace sluice::bench {
namespace {

constexpr uint64_t kTrips = 512;  // of one iteration

// Two reactors that run; a bio that comes home goes out again until all trips are made.
class Rally {
 public:
  explicit Rally(std::vector<std::unique_ptr<Poller>> pollers)
      : set_(std::move(pollers), clock_, ReactorOptions{1024, size_t{1} << 20, 50'000}) {
    for (uint16_t i = 0; i < 2; ++i) {
      threads_[i] = std::thread([this, i] { set_.at(i).Run(); });
    }
  }
  ~Rally() {
    for (uint16_t i = 0; i < 2; ++i) set_.at(i).Stop();
    for (std::thread& thread : threads_) thread.join();
  }

  // Returns when kTrips trips were made, `depth` at a time.
  void Play(uint64_t depth) {
    set_.at(0).Post([this, depth] {
      left_ = kTrips;
      home_ = 0;
      for (uint64_t i = 0; i < depth; ++i) Serve();
    });
    over_.acquire();
  }

 private:
  void Serve() noexcept {
    --left_;
    BioCell& cell = *Reactor::Current()->bios().New();
    cell.owner = this;
    Bio& bio = cell.bio;
    bio.target = &target_;
    bio.length = kPage;
    bio.release = [](Bio& of) noexcept {
      SLUICE_CHECK(of.error == 0 && of.resid == 0);
      auto& its_cell = reinterpret_cast<BioCell&>(of);
      auto& rally = *static_cast<Rally*>(its_cell.owner);
      Reactor::Current()->bios().Delete(&its_cell);
      if (++rally.home_ == kTrips) return rally.over_.release();
      if (rally.left_ > 0) rally.Serve();
    };
    Submit(bio);
  }

  SystemClock clock_;
  ReactorSet set_;
  NoOpTarget target_{1};
  uint64_t left_ = 0;
  uint64_t home_ = 0;
  std::binary_semaphore over_{0};
  std::thread threads_[2];
};

void MailboxThreads(benchmark::State& state) {
  std::vector<std::unique_ptr<Poller>> pollers;
  for (int i = 0; i < 2; ++i) {
    auto ring = RingPoller::Create();
    if (!ring.ok()) return state.SkipWithError(std::string(ring.status().message()).c_str());
    pollers.push_back(*std::move(ring));
  }
  Rally rally(std::move(pollers));
  for (auto _ : state) rally.Play(static_cast<uint64_t>(state.range(0)));
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kTrips));
}
BENCHMARK(MailboxThreads)->Name("mailbox/threads")->Arg(1)->Arg(32)->UseRealTime();

}  // namespace
}  // namespace sluice::bench
