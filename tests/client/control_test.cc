// SPDX-License-Identifier: Apache-2.0
// Management commands against a server that answers as a test says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "client/control/commands.h"
#include "client/control/explain.h"
#include "tests/client/control_server.h"

namespace sluice::control {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

struct Said {
  int status;
  std::string out, err;
};

template <typename Command>
Said Doing(Command command) {
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  const int status = command();
  std::string out = ::testing::internal::GetCapturedStdout();
  return {status, std::move(out), ::testing::internal::GetCapturedStderr()};
}

v1::DiskStatus Disk(const std::string& name, uint64_t size_bytes) {
  v1::DiskStatus disk;
  disk.mutable_spec()->set_name(name);
  disk.mutable_spec()->set_path("/srv/" + name);
  disk.set_state(v1::DISK_STATE_ONLINE);
  disk.set_size_bytes(size_bytes);
  disk.set_strategy("fcfs");
  disk.set_depth(64);
  return disk;
}

TEST(ControlLink, AnAddressThatCannotBeIsRefusedWithHowItIsWritten) {
  for (const char* address : {"", "unix:", "/run/s", "host", "host:", "host:0", "host:99999",
                              "::1:10810", "host:1/export", "unix"}) {
    const auto link = Link::Open({.address = address, .insecure_tcp = true});
    EXPECT_EQ(link.status().code(), StatusCode::kInvalidArgument) << address;
    EXPECT_THAT(link.status().message(), HasSubstr("write")) << address;
  }
  EXPECT_FALSE(Link::Open({.address = "unix:" + std::string(108, 'x')}).ok());
  for (const char* address : {"unix:/run/s", "h:1", "127.0.0.1:10810", "[::1]:10810"}) {
    EXPECT_TRUE(Link::Open({.address = address, .insecure_tcp = true}).ok()) << address;
  }
}

TEST(ControlLink, PlainTcpMustBeAskedForByItsName) {
  EXPECT_THAT(Link::Open({.address = "h:1"}).status().message(),
              AllOf(HasSubstr("--tls-ca"), HasSubstr("--insecure-tcp")));
  EXPECT_THAT(Link::Open({.address = "h:1", .tls_ca = "/ca"}).status().message(),
              HasSubstr("--tls-key"));
  EXPECT_THAT(
      Link::Open({.address = "h:1", .tls_ca = "/nowhere", .tls_cert = "/x", .tls_key = "/x"})
          .status()
          .message(),
      HasSubstr("/nowhere"));
}

TEST(ControlLink, NobodyThereIsToldWithItsCure) {
  const std::string path = ::testing::TempDir() + "sluice-nobody-" + std::to_string(getpid());
  const Link link = *Link::Open({.address = "unix:" + path});
  Said said = Doing([&] { return ListDisks(link, false); });
  EXPECT_EQ(said.status, 1);
  EXPECT_THAT(said.err, AllOf(HasSubstr("no such socket"), HasSubstr("--grpc unix:" + path),
                              HasSubstr("$SLUICE_SERVER")));
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  path.copy(name.sun_path, sizeof(name.sun_path) - 1);
  ASSERT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&name), sizeof(name)), 0);
  said = Doing([&] { return ListDisks(link, false); });
  EXPECT_THAT(said.err, HasSubstr("nobody listens"));
  close(fd);
  unlink(path.c_str());
}

TEST(ControlExplain, AServersRefusalKeepsItsTextAndGainsTheCure) {
  const Status conflict = ExplainAnswer(
      Refusal(grpc::StatusCode::ABORTED, v1::ERROR_REASON_CONFLICT, "the etag is another one"));
  EXPECT_THAT(conflict.message(),
              AllOf(HasSubstr("the etag is another one"), HasSubstr("look at it again")));
  EXPECT_EQ(ExplainAnswer(
                Refusal(grpc::StatusCode::NOT_FOUND, v1::ERROR_REASON_NOT_FOUND, "no disk \"x\""))
                .message(),
            "no disk \"x\"");
  EXPECT_THAT(ExplainAnswer(grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "")).message(),
              HasSubstr("older than this sluice"));
  EXPECT_THAT(ExplainAnswer(grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "")).message(),
              HasSubstr("did not answer in time"));
}

TEST(ControlCommands, AListIsTakenPageByPageAndAligned) {
  ControlServer server;
  server.disks.list = [](const v1::ListDisksRequest& request, v1::ListDisksResponse& response) {
    const bool first = request.page_token().empty();
    *response.add_disks() = first ? Disk("d0", 1 << 30) : Disk("a-longer-name", 512);
    response.set_next_page_token(first ? "more" : "");
    return grpc::Status::OK;
  };
  const Link link = server.link();
  EXPECT_EQ(Doing([&] { return ListDisks(link, false); }).out,
            "NAME           STATE      SIZE  STRATEGY  DEPTH  BACKING             USED BY\n"
            "d0             online  1.0 GiB  fcfs         64  /srv/d0             -\n"
            "a-longer-name  online    512 B  fcfs         64  /srv/a-longer-name  -\n");
  EXPECT_THAT(Doing([&] { return ListDisks(link, true); }).out,
              AllOf(HasSubstr("\"state\": \"online\""), HasSubstr("\"size_bytes\": 1073741824"),
                    HasSubstr("\"path\": \"/srv/d0\""), Not(HasSubstr("memory_bytes"))));
}

TEST(ControlCommands, AServersTextDoesNotSteerTheTerminal) {
  ControlServer server;
  server.disks.list = [](const v1::ListDisksRequest&, v1::ListDisksResponse& response) {
    *response.add_disks() = Disk("d\033[2Jx\xc2\x9bé", 512);
    return grpc::Status::OK;
  };
  const Link link = server.link();
  EXPECT_THAT(Doing([&] { return ListDisks(link, false); }).out,
              AllOf(HasSubstr("d\\x1b[2Jx"), HasSubstr("é"), Not(HasSubstr("\033"))));
}

TEST(ControlCommands, AChangeCarriesAnIdOfItsOwn) {
  ControlServer server;
  std::vector<std::string> ids;
  server.disks.swap = [&](const v1::SwapStrategyRequest& request,
                          v1::SwapStrategyResponse& response) {
    ids.push_back(request.request_id());
    response.mutable_disk()->set_strategy(request.strategy());
    response.set_moved(7);
    return grpc::Status::OK;
  };
  const Link link = server.link();
  v1::SwapStrategyRequest request;
  request.set_name("d0");
  request.set_strategy("deadline");
  const Said said = Doing([&] { return SwapStrategy(link, request, false); });
  EXPECT_EQ(said.out, "disk d0 is ordered by deadline now; 7 waiting requests moved over\n");
  request.set_request_id("mine");
  Doing([&] { return SwapStrategy(link, request, true); });
  ASSERT_EQ(ids.size(), 2u);
  EXPECT_THAT(ids[0], MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-"
                                   "[0-9a-f]{12}"));
  EXPECT_EQ(ids[1], "mine");
}

TEST(ControlCommands, AnUpdateOfAnExportCarriesWhatWasSaidAndNoMore) {
  ControlServer server;
  v1::UpdateExportRequest asked;
  server.exports.update = [&](const v1::UpdateExportRequest& request,
                              v1::UpdateExportResponse& response) {
    asked = request;
    response.mutable_export_()->mutable_spec()->set_name(request.name());
    response.mutable_export_()->mutable_spec()->set_weight(request.weight());
    return grpc::Status::OK;
  };
  v1::UpdateExportRequest request;
  request.set_name("e");
  request.set_read_only(false);
  request.set_weight(7);
  const Link link = server.link();
  EXPECT_EQ(Doing([&] { return UpdateExport(link, request, false); }).out,
            "export e updated: rw, priority 1, weight 7\n");
  EXPECT_TRUE(asked.has_read_only());
  EXPECT_FALSE(asked.has_description());
  EXPECT_FALSE(asked.has_priority());
  EXPECT_FALSE(asked.request_id().empty());
  EXPECT_THAT(Doing([&] { return UpdateExport(link, request, true); }).out,
              HasSubstr("\"weight\": 7"));
}

class Draining : public ::testing::Test {
 protected:
  Draining() {
    server_.disks.drain = [](const v1::DrainDiskRequest&, v1::DrainDiskResponse& response) {
      response.mutable_operation()->set_id("op-1");
      response.mutable_operation()->set_title("drain disk \"d0\"");
      return grpc::Status::OK;
    };
  }
  // Runs twice, then ends as `last`.
  void EndAs(v1::OperationState last, const std::string& why) {
    server_.operations.wait = [this, last, why](const v1::WaitOperationRequest& request,
                                                v1::WaitOperationResponse& response) {
      v1::Operation& operation = *response.mutable_operation();
      operation.set_id(request.id());
      operation.set_title("drain disk \"d0\"");
      operation.set_state(++waits_ < 3 ? v1::OPERATION_STATE_RUNNING : last);
      operation.set_error_text(why);
      return grpc::Status::OK;
    };
  }
  Said Drain(bool wait) {
    return Doing([&] { return DrainDisk(server_.link(), v1::DrainDiskRequest(), wait, false); });
  }

  ControlServer server_;
  int waits_ = 0;
};

TEST_F(Draining, IsWaitedForToItsEnd) {
  EndAs(v1::OPERATION_STATE_DONE, "");
  const Said said = Drain(true);
  EXPECT_EQ(said.status, 0);
  EXPECT_EQ(said.out, "drain disk \"d0\": done\n");
  EXPECT_EQ(waits_, 3);
}

TEST_F(Draining, ThatFailsFailsTheCommandAndSaysWhy) {
  EndAs(v1::OPERATION_STATE_FAILED, "EIO");
  const Said said = Drain(true);
  EXPECT_EQ(said.status, 1);
  EXPECT_EQ(said.err, "sluice: drain disk \"d0\": failed: EIO\n");
}

TEST_F(Draining, NotWaitedForSaysHowToWait) {
  const Said said = Drain(false);
  EXPECT_EQ(said.status, 0);
  EXPECT_THAT(said.out, HasSubstr("sluice operation wait op-1"));
  EXPECT_EQ(waits_, 0);
}

TEST_F(Draining, WaitingEndsWithItsPatience) {
  EndAs(v1::OPERATION_STATE_DONE, "");
  waits_ = -1'000'000;
  const Said said = Doing([&] { return WaitOperation(server_.link(), "op-1", 50, false); });
  EXPECT_EQ(said.status, 1);
  EXPECT_THAT(said.err, HasSubstr("still running"));
}

TEST(ControlEvents, WhatIsKeptIsToldAndThenItEnds) {
  ControlServer server;
  uint64_t asked = 0;
  server.stats.watch = [&](grpc::ServerContext& context, uint64_t since,
                           grpc::ServerWriter<v1::WatchEventsResponse>& writer) {
    asked = since;
    v1::WatchEventsResponse response;
    response.add_events()->set_kind(v1::EVENT_KIND_GAP);
    v1::Event& event = *response.add_events();
    event.set_revision(9);
    event.set_kind(v1::EVENT_KIND_DISK_ADDED);
    event.set_subject("d0");
    writer.Write(response);
    while (!context.IsCancelled()) usleep(1000);
  };
  Said said = Doing([&] { return ShowEvents(server.link(), {.json = true}); });
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_EQ(asked, 1u);
  EXPECT_THAT(said.out, AllOf(HasSubstr("\"kind\": \"disk_added\""), HasSubstr("\"revision\": 9"),
                              Not(HasSubstr("gap"))));
  said = Doing([&] { return ShowEvents(server.link(), {.since = 5}); });
  EXPECT_EQ(asked, 5u);
  EXPECT_THAT(said.out, AllOf(HasSubstr("gap"), HasSubstr("disk_added"), HasSubstr("d0")));
}

TEST(ControlEvents, AServerThatSaysNothingAtAllIsNotWaitedForForEver) {
  ControlServer server;
  server.stats.watch = [](grpc::ServerContext& context, uint64_t, auto&) {
    while (!context.IsCancelled()) usleep(1000);
  };
  const Said said = Doing(
      [&] { return ShowEvents(server.link(), {.patience = std::chrono::milliseconds(200)}); });
  EXPECT_EQ(said.status, 1);
  EXPECT_EQ(said.out, "");
  EXPECT_THAT(said.err, HasSubstr("in time"));
}

TEST(ControlTop, OnceTellsWhatWasDoneInBetween) {
  ControlServer server;
  uint64_t asked = 0;
  server.stats.get = [&](const v1::GetStatsRequest&, v1::GetStatsResponse& response) {
    v1::Stats& stats = *response.mutable_stats();
    stats.set_uptime_ns(++asked * 1'000'000'000);
    v1::DiskStats& disk = *stats.add_disks();
    disk.set_disk("d0");
    v1::OpStats& op = *disk.add_ops();
    op.set_op(v1::STATS_OP_WRITE);
    op.set_count(asked * 100);
    op.set_bytes(asked * 409'600);
    return grpc::Status::OK;
  };
  const Said said =
      Doing([&] { return Top(server.link(), {.interval_ms = 100, .count = 1, .json = true}); });
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_EQ(asked, 2u);
  EXPECT_THAT(said.out, AllOf(HasSubstr("\"name\": \"d0\", \"iops\": 100.000"),
                              HasSubstr("\"write_bytes_per_second\": 409600.000"),
                              HasSubstr("\"writes\": 200")));
}

}  // namespace
}  // namespace sluice::control
