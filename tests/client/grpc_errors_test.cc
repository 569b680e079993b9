// SPDX-License-Identifier: Apache-2.0
// What the SDK makes of what a gRPC server says: errors, damaged data, news, nonsense, and TLS.
#include <gmock/gmock.h>
#include <grpcpp/security/server_credentials.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <mutex>
#include <sstream>
#include <thread>
#include <vector>

#include "sluice/client.h"
#include "tests/client/eventually.h"
#include "tests/client/fake_grpc_test.h"

namespace sluice {
namespace {

using Bytes = std::vector<std::byte>;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class GrpcErrorsTest : public FakeGrpcTest {};

TEST_F(GrpcErrorsTest, EveryReasonHasItsCode) {
  std::atomic<v1::ErrorReason> reason = v1::ERROR_REASON_UNSPECIFIED;
  FakeGrpcServer server({.refuse = [&](const v1::Op&) { return reason.load(); }});
  const Volume volume = Open(server);
  const std::pair<v1::ErrorReason, StatusCode> expected[] = {
      {v1::ERROR_REASON_BAD_REQUEST, StatusCode::kInvalidArgument},
      {v1::ERROR_REASON_OUT_OF_BOUNDS, StatusCode::kOutOfRange},
      {v1::ERROR_REASON_READ_ONLY, StatusCode::kReadOnly},
      {v1::ERROR_REASON_NO_SPACE, StatusCode::kNoSpace},
      {v1::ERROR_REASON_NO_MEMORY, StatusCode::kUnavailable},
      {v1::ERROR_REASON_OVERLOADED, StatusCode::kUnavailable},
      {v1::ERROR_REASON_IO_ERROR, StatusCode::kIoError},
      {v1::ERROR_REASON_UNSUPPORTED, StatusCode::kUnsupported},
      {v1::ERROR_REASON_OUT_OF_WINDOW, StatusCode::kUnknownOutcome},
      {v1::ERROR_REASON_DISK_TIMEOUT, StatusCode::kUnknownOutcome},
      {v1::ERROR_REASON_CANCELLED, StatusCode::kCancelled},
  };
  const Bytes block(4096);
  for (const auto& [told, code] : expected) {
    reason = told;
    EXPECT_EQ(volume.Write(0, block).code(), code) << v1::ErrorReason_Name(told);
  }
  reason = v1::ERROR_REASON_DISK_TIMEOUT;
  Bytes read(4096);
  EXPECT_EQ(volume.Read(0, read).code(), StatusCode::kIoError);  // changed nothing
  reason = v1::ERROR_REASON_UNSPECIFIED;
  EXPECT_TRUE(volume.Write(0, block).ok());
}

TEST_F(GrpcErrorsTest, DataDamagedOnTheWayAreSentAgainButNotForEver) {
  std::atomic<int> damage = 2;
  FakeGrpcServer server({.refuse =
                             [&](const v1::Op& op) {
                               const bool hit = op.kind() == v1::OP_KIND_WRITE && damage-- > 0;
                               return hit ? v1::ERROR_REASON_CHECKSUM_MISMATCH
                                          : v1::ERROR_REASON_UNSPECIFIED;
                             },
                         .answer =
                             [&](v1::IoResponse& response) {
                               if (response.payload().empty() || damage-- <= 0) return;
                               response.mutable_payload()->front() ^= 1;
                             }});
  const Volume volume = Open(server);
  const Bytes block(4096, std::byte{7});
  Bytes read(4096);
  EXPECT_TRUE(volume.Write(0, block).ok());
  damage = 2;
  EXPECT_TRUE(volume.Read(0, read).ok());
  EXPECT_EQ(read, block);
  damage = 1000;
  EXPECT_EQ(volume.Write(0, block).code(), StatusCode::kIoError);
  EXPECT_EQ(volume.Read(0, read).code(), StatusCode::kIoError);
  EXPECT_EQ(damage, 1000 - 10);  // five times each
}

TEST_F(GrpcErrorsTest, AResizeReachesTheVolume) {
  FakeGrpcServer server({});
  const Volume volume = Open(server);
  const Bytes block(4096);
  EXPECT_EQ(volume.size_bytes(), 1u << 19);
  EXPECT_EQ(volume.Write(1 << 19, block).code(), StatusCode::kOutOfRange);
  v1::IoNotice notice;
  notice.mutable_geometry()->set_size_bytes(1 << 20);
  notice.mutable_geometry()->set_block_size_bytes(512);
  server.Notify(notice);
  Eventually([&] { return Count(Event::kResized) == 1; });
  EXPECT_EQ(volume.size_bytes(), 1u << 20);
  EXPECT_EQ(volume.info().size_bytes, 1u << 19);
  EXPECT_TRUE(volume.Write(1 << 19, block).ok());
}

TEST_F(GrpcErrorsTest, WhatADrainingServerRefusesWaitsForTheNextAttach) {
  FakeGrpcServer server({});
  const Volume volume = Open(server);
  v1::IoNotice notice;
  notice.set_draining(true);
  server.Notify(notice);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const Bytes block(4096);
  std::future<Status> writing = volume.WriteFuture(0, block);
  EXPECT_EQ(writing.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  EXPECT_EQ(server.ops(), 0u);
  server.HangUp();
  EXPECT_TRUE(writing.get().ok());
  EXPECT_EQ(server.attaches(), 2u);
}

// Over two streams the read might come first, and then the server refuses the write.
TEST_F(GrpcErrorsTest, AReadIsNotSentWhileAWriteThatItOverlapsIsUnanswered) {
  std::atomic<bool> withhold = true;
  FakeGrpcServer server({.attach = [](v1::IoAttached& to) { to.set_completed_through(0); },
                         .answer =
                             [&](v1::IoResponse& response) {
                               if (response.payload().empty() && withhold) response.clear_results();
                             }});
  const Volume volume = Open(server, {.connections = 2});
  Bytes written(4096, std::byte{7});
  Bytes inside(512);
  Bytes behind(512);
  std::future<Status> write = volume.WriteFuture(4096, written);
  Eventually([&] { return server.ops() == 1; });
  std::future<Status> read = volume.ReadFuture(4096 + 1024, inside);
  EXPECT_TRUE(volume.Read(8192, behind).ok());
  EXPECT_EQ(server.ops(), 2u);
  withhold = false;
  server.HangUp();
  EXPECT_TRUE(write.get().ok());
  EXPECT_TRUE(read.get().ok());
  EXPECT_EQ(server.ops(), 4u);  // the write came twice
  EXPECT_EQ(inside, Bytes(512, std::byte{7}));
}

TEST_F(GrpcErrorsTest, AnAnswerToNothingCostsTheStream) {
  std::atomic<bool> wrong = true;
  FakeGrpcServer server({.answer = [&](v1::IoResponse& response) {
    if (wrong.exchange(false)) response.mutable_results(0)->set_op_id(77);
  }});
  const Volume volume = Open(server);
  EXPECT_TRUE(volume.Write(0, Bytes(4096)).ok());
  EXPECT_EQ(server.attaches(), 2u);
  EXPECT_EQ(Count(Event::kConnectionLost), 1);
}

TEST_F(GrpcErrorsTest, AServerThatEndsWhatItHasJustTakenIsNotAskedAtFullSpeed) {
  FakeGrpcServer server({});
  const Volume volume = Open(server);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  while (std::chrono::steady_clock::now() < until) {
    server.HangUp();
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  EXPECT_LE(server.attaches(), 10u);  // after 0, 10, 20, 40 ... ms
  EXPECT_TRUE(volume.Write(0, Bytes(4096)).ok());
}

TEST_F(GrpcErrorsTest, CreditsThatLetNothingThroughAreNotAwaited) {
  for (const auto& [ops, bytes] : {std::pair{0u, 1u << 20}, std::pair{64u, 512u}}) {
    FakeGrpcServer server({.attach = [ops = ops, bytes = bytes](v1::IoAttached& attached) {
      attached.mutable_credits()->set_ops(ops);
      attached.mutable_credits()->set_bytes(bytes);
    }});
    EXPECT_EQ(client_->Open(server.uri()).status().code(), StatusCode::kProtocolError);
  }
}

TEST_F(GrpcErrorsTest, LimitsAreKeptAndNonsenseIsRefused) {
  FakeGrpcServer small({.open = [](v1::OpenVolumeResponse& response) {
    response.mutable_limits()->set_max_op_bytes(5000);
  }});
  const Volume volume = Open(small, {.connections = 9});
  EXPECT_EQ(volume.info().max_transfer_bytes, 4608u);  // whole blocks
  EXPECT_EQ(volume.info().connections, 4u);
  EXPECT_TRUE(volume.Write(0, Bytes(46080)).ok());
  EXPECT_EQ(small.ops(), 10u);
  FakeGrpcServer nothing({.open = [](v1::OpenVolumeResponse& response) {
    response.mutable_limits()->set_max_inflight_bytes(0);
  }});
  EXPECT_EQ(client_->Open(nothing.uri()).status().code(), StatusCode::kProtocolError);
  FakeGrpcServer crooked({.open = [](v1::OpenVolumeResponse& response) {
    response.mutable_geometry()->set_block_size_bytes(1000);
  }});
  EXPECT_EQ(client_->Open(crooked.uri()).status().code(), StatusCode::kProtocolError);
}

TEST_F(GrpcErrorsTest, EffectsLongerThanTheServerTakesAreSplit) {
  std::mutex mutex;
  std::vector<v1::Op> seen;
  FakeGrpcServer server({.open =
                             [](v1::OpenVolumeResponse& response) {
                               response.mutable_geometry()->set_can_write_zeroes(true);
                               response.mutable_geometry()->set_can_discard(true);
                               response.mutable_limits()->set_max_effect_bytes(66'000);
                             },
                         .refuse =
                             [&](const v1::Op& op) {
                               const std::lock_guard lock(mutex);
                               seen.push_back(op);
                               return v1::ERROR_REASON_UNSPECIFIED;
                             }});
  const Volume volume = Open(server);
  for (const v1::OpKind kind : {v1::OP_KIND_WRITE_ZEROES, v1::OP_KIND_DISCARD}) {
    const bool zeroes = kind == v1::OP_KIND_WRITE_ZEROES;
    EXPECT_TRUE(
        (zeroes ? volume.WriteZeroes(512, 200'192, kFua) : volume.Discard(512, 200'192, kFua))
            .ok());
    std::vector<std::pair<uint64_t, uint32_t>> ranges;
    for (const v1::Op& op : std::exchange(seen, {})) {
      EXPECT_EQ(op.kind(), kind);
      EXPECT_EQ(op.flags(), v1::OP_FLAG_FUA);
      ranges.emplace_back(op.offset_bytes(), op.length_bytes());
    }
    // Whole blocks, not the 66'000 bytes of the limit.
    EXPECT_THAT(ranges, ElementsAre(std::pair(512, 65536), std::pair(66048, 65536),
                                    std::pair(131584, 65536), std::pair(197120, 3584)));
  }
}

TEST_F(GrpcErrorsTest, NoEffectIsLongerThanAGibibyte) {
  std::mutex mutex;
  std::vector<uint64_t> lengths;
  FakeGrpcServer server({.open =
                             [](v1::OpenVolumeResponse& response) {
                               response.mutable_geometry()->set_size_bytes(uint64_t{8} << 30);
                               response.mutable_geometry()->set_can_write_zeroes(true);
                               response.mutable_limits()->set_max_effect_bytes(uint64_t{1} << 40);
                             },
                         .refuse =
                             [&](const v1::Op& op) {
                               const std::lock_guard lock(mutex);
                               lengths.push_back(op.length_bytes());
                               return v1::ERROR_REASON_UNSPECIFIED;
                             }});
  EXPECT_TRUE(Open(server).WriteZeroes(0, (uint64_t{5} << 29)).ok());
  EXPECT_THAT(lengths, ElementsAre(1u << 30, 1u << 30, 1u << 29));
}

// A certificate authority in a folder, by openssl(1).
class TlsTest : public GrpcErrorsTest {
 protected:
  TlsTest() {
    char name[] = "/tmp/sluice-tls-XXXXXX";
    folder_ = mkdtemp(name);
    Issue("ca", "");
    Issue("other", "");
    Issue("server", "ca");
    Issue("client", "ca");
  }
  ~TlsTest() override { std::filesystem::remove_all(folder_); }

  std::string File(const std::string& name) const { return folder_ + "/" + name; }
  std::string Text(const std::string& name) const {
    std::ostringstream text;
    text << std::ifstream(File(name)).rdbuf();
    return text.str();
  }

  std::shared_ptr<::grpc::ServerCredentials> ServerSide() const {
    ::grpc::SslServerCredentialsOptions options(
        GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    options.pem_root_certs = Text("ca.pem");
    options.pem_key_cert_pairs.push_back({Text("server.key"), Text("server.pem")});
    return ::grpc::SslServerCredentials(options);
  }

  Status Outcome(const FakeGrpcServer& server, const Tls& tls, bool insecure = false) {
    return client_
        ->Open(server.uri(), {.connect_timeout_ms = 3000, .tls = tls, .insecure_tcp = insecure})
        .status();
  }

 private:
  void Issue(const std::string& name, const std::string& by) const {
    std::string command = "cd " + folder_ +
                          " && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256"
                          " -nodes -days 2 -subj /CN=" +
                          name + " -keyout " + name + ".key -out " + name + ".pem";
    if (!by.empty()) {
      command += " -CA " + by + ".pem -CAkey " + by +
                 ".key -addext subjectAltName=DNS:localhost,DNS:store -addext basicConstraints=CA:"
                 "FALSE";
    }
    ASSERT_EQ(std::system((command + " 2>log").c_str()), 0);
  }

  std::string folder_;
};

TEST_F(TlsTest, BothSidesShowWhoTheyAre) {
  FakeGrpcServer server({.credentials = ServerSide()});
  const Volume volume = Open(server, {.tls = {.ca_file = File("ca.pem"),
                                              .cert_file = File("client.pem"),
                                              .key_file = File("client.key"),
                                              .server_name = "store"}});
  const Bytes block(4096, std::byte{9});
  Bytes read(4096);
  EXPECT_TRUE(volume.Write(0, block).ok());
  EXPECT_TRUE(volume.Read(0, read).ok());
  EXPECT_EQ(read, block);
}

TEST_F(TlsTest, WhoIsNotWhoItShouldBeIsRefused) {
  FakeGrpcServer server({.credentials = ServerSide()});
  const Tls good = {.ca_file = File("ca.pem"),
                    .cert_file = File("client.pem"),
                    .key_file = File("client.key"),
                    .server_name = "store"};
  Tls tls = good;
  tls.ca_file = File("other.pem");
  EXPECT_EQ(Outcome(server, tls).code(), StatusCode::kUnavailable);
  tls = good;
  tls.server_name = "elsewhere";
  EXPECT_EQ(Outcome(server, tls).code(), StatusCode::kUnavailable);
  tls.server_name = "";  // the URI's host, which the certificate does not name
  EXPECT_EQ(Outcome(server, tls).code(), StatusCode::kUnavailable);
  tls = good;
  tls.cert_file = tls.key_file = "";
  EXPECT_EQ(Outcome(server, tls).code(), StatusCode::kUnavailable);
  EXPECT_EQ(Outcome(server, {}, true).code(), StatusCode::kUnavailable);  // plain to TLS
  tls.ca_file = File("missing.pem");
  EXPECT_THAT(Outcome(server, tls).ToString(), HasSubstr("missing.pem: No such file"));
  EXPECT_TRUE(Outcome(server, good).ok());
}

}  // namespace
}  // namespace sluice
