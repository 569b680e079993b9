// SPDX-License-Identifier: Apache-2.0
// The door with real rings, sockets and threads: two reactors, many clients at once, a drain under
// load. What the thread sanitizer should see.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/ring.h"
#include "core/units.h"
#include "server/nbd/door.h"
#include "storage/null_disk.h"
#include "tests/server/socket_client.h"

namespace sluice::nbd {
namespace {

class DoorThreadsTest : public testing::Test {
 protected:
  DoorThreadsTest() {
    for (uint16_t id = 0; id < 2; ++id) {
      threads_.emplace_back([this, id] { reactors_.at(id).Run(); });
    }
  }
  ~DoorThreadsTest() override {
    Drain();
    for (uint16_t id = 0; id < 2; ++id) reactors_.at(id).Stop();
    for (std::thread& thread : threads_) thread.join();
  }
  void Drain() {
    if (std::exchange(drained_, true)) return;
    std::promise<void> done;
    door_.Drain([&done] { done.set_value(); });
    done.get_future().wait();
  }
  SocketClient Connect() {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    door_.Enter(std::make_unique<PlainTransport>(ends[0]), Peer{"test", 1},
                door_.handshakes().Enter());
    return SocketClient(ends[1]);
  }
  static DoorOptions Limits() {
    DoorOptions options;
    options.handshake_timeout_ns = options.payload_timeout_ns = 30 * kSecond;
    return options;
  }

  SystemClock clock_;
  ReactorSet reactors_{[] {
                         std::vector<std::unique_ptr<Poller>> pollers;
                         pollers.push_back(*RingPoller::Create());
                         pollers.push_back(*RingPoller::Create());
                         return pollers;
                       }(),
                       clock_, ReactorOptions{1024, 64 * kMiB, 50'000}};
  NullDisk disk_{64 * kMiB};
  ExportTable exports_{{{ExportConfig{"disk", "disk", "", false, 1, 100}, &disk_}}, ""};
  Door door_{reactors_, exports_, Limits(), nullptr};
  std::vector<std::thread> threads_;
  bool drained_ = false;
};

TEST_F(DoorThreadsTest, ManyClientsComeAndGoOnBothReactors) {
  std::atomic<int> good{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([this, &good] {
      for (int round = 0; round < 10; ++round) {
        SocketClient client = Connect();
        if (!client.Open("disk")) continue;
        bool all = true;
        for (int n = 0; n < 5; ++n) {
          all &= client.Ask(Command::kWrite, 4096) == Error::kNone;
          all &= client.Ask(Command::kRead, 8192) == Error::kNone;
          all &= client.Ask(Command::kFlush, 0) == Error::kNone;
        }
        if (all) ++good;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(good.load(), 40);
}

// Promise 8: every request of a client that is served is answered, well or with ESHUTDOWN, or the
// stream ended before it was sent; never a reset.
TEST_F(DoorThreadsTest, ADrainUnderLoadAnswersEveryone) {
  std::atomic<int> broken{0};
  std::atomic<int> busy{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([this, &broken, &busy] {
      SocketClient client = Connect();
      if (!client.Open("disk")) {
        ++broken;
        return;
      }
      ++busy;
      for (int n = 0; n < 1'000'000; ++n) {
        const auto error = client.Ask(Command::kWrite, 512);
        if (error == Error::kNone) continue;
        if (error && *error != Error::kShutdown) ++broken;
        if (!client.AtEnd()) ++broken;
        return;
      }
      ++broken;
    });
  }
  while (busy.load() + broken.load() < 4) std::this_thread::yield();
  Drain();
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(broken.load(), 0);
}

}  // namespace
}  // namespace sluice::nbd
