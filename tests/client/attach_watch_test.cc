// SPDX-License-Identifier: Apache-2.0
#include "client/attach/watch.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>

#include "tests/client/control_server.h"

namespace sluice::attach {
namespace {

bool HearsWithin(const Watch& watch, int ms) {
  pollfd look{.fd = watch.event_fd(), .events = POLLIN, .revents = 0};
  return poll(&look, 1, ms) == 1;
}

v1::WatchEventsResponse News(v1::EventKind kind) {
  v1::WatchEventsResponse response;
  response.add_events()->set_kind(kind);
  return response;
}

// Until the client is gone.
void Linger(const grpc::ServerContext& context) {
  while (!context.IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

TEST(AttachWatch, AChangedVolumeIsHeardOfOnceAndASessionIsNot) {
  control::ControlServer server;
  std::atomic<bool> more = false;
  server.stats.watch = [&](grpc::ServerContext& context, uint64_t since, auto& writer) {
    EXPECT_EQ(since, 1U);
    writer.Write(News(v1::EVENT_KIND_SESSION_OPENED));
    while (!more && !context.IsCancelled()) std::this_thread::yield();
    writer.Write(News(v1::EVENT_KIND_VOLUME_CHANGED));
    Linger(context);
  };
  Watch watch({.address = server.address()});
  EXPECT_FALSE(HearsWithin(watch, 200));
  more = true;
  EXPECT_TRUE(HearsWithin(watch, 10000));
  EXPECT_TRUE(watch.TakeNews());
  EXPECT_FALSE(watch.TakeNews());
}

TEST(AttachWatch, WhatChangedBeforeItListenedIsHeardToo) {
  control::ControlServer server;
  server.stats.watch = [&](grpc::ServerContext& context, uint64_t since, auto& writer) {
    // As a server does that has seen one change, revision 7.
    if (since != 0 && since < 7) writer.Write(News(v1::EVENT_KIND_DISK_CHANGED));
    Linger(context);
  };
  Watch watch({.address = server.address()});
  EXPECT_TRUE(HearsWithin(watch, 10000));
}

TEST(AttachWatch, AServerThatIsNotThereIsNeitherHeardNorWaitedFor) {
  Watch watch({.address = "unix:/nonexistent/sluice.sock"});
  EXPECT_FALSE(HearsWithin(watch, 100));
}

}  // namespace
}  // namespace sluice::attach
