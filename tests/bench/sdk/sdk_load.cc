// SPDX-License-Identifier: Apache-2.0
// A load on one volume through the SDK, over either door:
//
//   sdk_load URI read|write BYTES DEPTH SECONDS [CONNECTIONS] [SERVER_PID]
//
// DEPTH operations at random offsets are always in flight, each started by the callback of the one
// before it. Prints operations a second, MB/s, the median and 99th percentile of latencies, and the
// processor time of an operation, the client's and, with SERVER_PID, the server's: microseconds.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <latch>
#include <string>
#include <vector>

#include "sluice/client.h"

namespace {

using Clock = std::chrono::steady_clock;

struct Load {
  bool writes = false;
  size_t bytes = 0;
  uint64_t blocks = 0;
  Clock::time_point begin, end;
};

uint64_t Next(uint64_t& state) {  // xorshift
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

// One of DEPTH.
class Slot {
 public:
  Slot(const sluice::Volume& volume, const Load& load, uint64_t seed, std::latch& over)
      : volume_(volume), load_(load), state_(seed), over_(over), buffer_(load.bytes) {
    latencies_us_.reserve(1 << 20);
  }

  void Begin() {
    asked_ = Clock::now();
    const uint64_t offset = Next(state_) % load_.blocks * load_.bytes;
    auto done = [this](const sluice::Status& status) { Done(status); };
    if (load_.writes) {
      volume_.AsyncWrite(offset, buffer_, sluice::kNone, done);
    } else {
      volume_.AsyncRead(offset, buffer_, done);
    }
  }

  const std::vector<float>& latencies_us() const { return latencies_us_; }

 private:
  void Done(const sluice::Status& status) {
    if (!status.ok()) {
      std::fprintf(stderr, "%s\n", status.ToString().c_str());
      std::exit(1);
    }
    const auto now = Clock::now();
    if (asked_ >= load_.begin && now < load_.end) {
      latencies_us_.push_back(std::chrono::duration<float, std::micro>(now - asked_).count());
    }
    if (now < load_.end) {
      Begin();
    } else {
      over_.count_down();
    }
  }

  const sluice::Volume& volume_;
  const Load& load_;
  uint64_t state_;
  std::latch& over_;
  std::vector<std::byte> buffer_;
  std::vector<float> latencies_us_;
  Clock::time_point asked_;
};

double OwnSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

// User and system time of another process, proc(5).
double SecondsOf(const std::string& pid) {
  if (pid.empty()) return 0;
  std::FILE* file = std::fopen(("/proc/" + pid + "/stat").c_str(), "r");
  if (file == nullptr) return 0;
  unsigned long user = 0;
  unsigned long system = 0;
  const int got = std::fscanf(
      file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
  std::fclose(file);
  return got == 2 ? static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK))
                  : 0;
}

int Run(int argc, char** argv) {
  const std::string uri = argv[1];
  Load load;
  load.writes = std::string(argv[2]) == "write";
  load.bytes = std::strtoul(argv[3], nullptr, 10);
  const size_t depth = std::strtoul(argv[4], nullptr, 10);
  const double seconds = std::strtod(argv[5], nullptr);
  const auto connections = static_cast<uint32_t>(argc > 6 ? std::atoi(argv[6]) : 1);
  const std::string server = argc > 7 ? argv[7] : "";

  const auto client = sluice::Client::Create();
  if (!client.ok()) return 1;
  const auto volume = client->Open(uri, {.connections = connections, .queue_depth = 1024});
  if (!volume.ok()) {
    std::fprintf(stderr, "%s\n", volume.status().ToString().c_str());
    return 1;
  }
  load.blocks = volume->info().size_bytes / load.bytes;
  load.begin = Clock::now() + std::chrono::milliseconds(200);  // warm by then
  load.end = load.begin +
             std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  std::latch over(static_cast<std::ptrdiff_t>(depth));
  std::vector<Slot> slots;
  slots.reserve(depth);
  for (size_t i = 0; i < depth; ++i) slots.emplace_back(*volume, load, i + 1, over);
  const double own = OwnSeconds();
  const double servers = SecondsOf(server);
  const auto began = Clock::now();
  for (Slot& slot : slots) slot.Begin();
  over.wait();
  const double took = std::chrono::duration<double>(Clock::now() - began).count();
  std::vector<float> all;
  for (const Slot& slot : slots) {
    all.insert(all.end(), slot.latencies_us().begin(), slot.latencies_us().end());
  }
  if (all.empty()) return 1;
  std::sort(all.begin(), all.end());
  const double ops = static_cast<double>(all.size());
  const double all_ops = ops * took / seconds;  // with those of the warm-up
  std::printf("%.0f ops/s %.0f MB/s p50 %.0f us p99 %.0f us client %.2f us/op server %.2f us/op\n",
              ops / seconds, ops / seconds * static_cast<double>(load.bytes) / 1e6,
              static_cast<double>(all[all.size() / 2]),
              static_cast<double>(all[all.size() * 99 / 100]), (OwnSeconds() - own) / all_ops * 1e6,
              (SecondsOf(server) - servers) / all_ops * 1e6);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6) {
    std::fputs("sdk_load URI read|write BYTES DEPTH SECONDS [CONNECTIONS] [SERVER_PID]\n", stderr);
    return 2;
  }
  return Run(argc, argv);
}
