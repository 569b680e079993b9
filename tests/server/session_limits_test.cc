// SPDX-License-Identifier: Apache-2.0
// What a session may hold, when it stops to receive, and how it ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "tests/server/session_client.h"

namespace sluice::nbd {
namespace {

constexpr uint32_t kMebi = 1 << 20;

SessionSetup Sixteen(bool crossing = false) {
  SessionSetup setup;
  setup.crossing = crossing;
  setup.size = 16 << 20;
  setup.info.can_trim = setup.info.can_zero = true;
  return setup;
}

Bytes Reads(uint64_t first_cookie, size_t count, uint32_t length) {
  Bytes bytes;
  for (uint64_t i = 0; i < count; ++i) {
    const Bytes read = RequestBytes(Command::kRead, first_cookie + i, 0, length);
    bytes.insert(bytes.end(), read.begin(), read.end());
  }
  return bytes;
}

TEST(SessionLimits, RequestsInFlightAreBoundedAndParsingGoesOnWhenOneIsSent) {  // A1
  SessionSetup setup = Sixteen();
  setup.options.requests_max = 4;
  SessionWire wire(setup);
  wire.target->hold = true;
  wire.Put(Reads(0, 10, 512));
  wire.Pump();
  EXPECT_EQ(wire.target->held.size(), 4u);
  EXPECT_FALSE(wire.session->wants_receive());
  wire.reads = false;
  wire.On([&] { wire.target->Finish(0); });
  wire.Pump();
  EXPECT_EQ(wire.target->held.size(), 3u) << "an answer that is not sent still counts";
  wire.reads = true;
  wire.Pump();
  EXPECT_EQ(wire.target->held.size(), 4u);
  wire.target->hold = false;
  wire.On([&] { wire.target->FinishAll(); });
  wire.Pump();
  EXPECT_EQ(wire.TakeAnswers().size(), 10u);
  EXPECT_TRUE(wire.session->quiet());
}

TEST(SessionLimits, RefusedRequestsOfAClientThatDoesNotReadAreBoundedToo) {  // A1
  SessionSetup setup = Sixteen();
  setup.options.requests_max = 8;
  SessionWire wire(setup);
  wire.reads = false;
  for (uint64_t i = 0; i < 1000; ++i) wire.Put(RequestBytes(static_cast<Command>(99), i, 0, 0));
  wire.Pump();
  EXPECT_FALSE(wire.session->wants_receive());
  wire.reads = true;
  wire.Pump();
  EXPECT_EQ(wire.TakeAnswers().size(), 1000u);
}

TEST(SessionLimits, AConnectionHoldsAtMostAQuarterOfThePool) {  // promise 7
  SessionWire wire(Sixteen());                                  // 4 MiB
  wire.target->hold = true;
  wire.Put(Reads(0, 20, 256 * 1024));
  wire.Pump();
  EXPECT_EQ(wire.target->held.size(), 4u);
  EXPECT_FALSE(wire.session->wants_receive());
  wire.target->hold = false;
  wire.On([&] { wire.target->FinishAll(); });
  wire.Pump();
  EXPECT_EQ(wire.TakeAnswers().size(), 20u);
}

TEST(SessionLimits, OrOneRequestIfThatIsMore) {  // promise 7
  SessionWire wire(Sixteen());
  EXPECT_EQ(wire.Ask(Command::kWrite, 0, 4 * kMebi).error, Error::kNone);
  const Answer refused = wire.Ask(Command::kWrite, 0, 4 * kMebi + 512);
  EXPECT_EQ(refused.error, Error::kOverflow) << "more than the whole pool can never be had";
  EXPECT_TRUE(wire.alive());
}

TEST(SessionLimits, CellsAreReservedWithTheWorstCaseOfChildren) {  // promise 7
  SessionSetup setup = Sixteen();
  setup.credits = 40;
  SessionWire wire(setup);
  wire.target->mutable_limits().children = 4;
  auto info = std::make_shared<ExportInfo>(setup.info);
  info->size_bytes = setup.size;
  Negotiated negotiated;
  negotiated.exported = info;
  wire.session = std::make_unique<Session>(wire.reactor(), *wire.target, std::move(negotiated),
                                           Session::Options(), wire, wire.stats);
  wire.target->hold = true;
  wire.Put(Reads(0, 5, 512));
  wire.Pump();
  EXPECT_EQ(wire.target->held.size(), 2u) << "two of five cells each are a quarter of 40";
  EXPECT_EQ(wire.reactor().bios().reserved(), 10u);
}

class QuietOwner final : public Session::Owner {
 public:
  void OnSessionChanged() noexcept override {}
};

// A pool that another user empties and fills.
class SessionPoolTest : public ::testing::Test {
 protected:
  SessionPoolTest() : wire_(Sixteen()) {}
  ~SessionPoolTest() override { GiveBack(); }

  void TakeAll() {
    Segment segment;
    while (wire_.reactor().buffers().Take(BufferPool::kBlockMax, &segment) == 1) {
      taken_.push_back(segment);
    }
  }
  void GiveBack() {
    wire_.On([this] {
      for (const Segment& segment : taken_) wire_.reactor().buffers().Give(&segment, 1);
      taken_.clear();
      wire_.reactor().PoolsGave();
    });
  }

  SessionWire wire_;
  std::vector<Segment> taken_;
};

TEST_F(SessionPoolTest, WithoutMemoryNothingIsTakenUntilThereIsSome) {
  TakeAll();
  wire_.Put(WriteBytes(1, 0, 8192));
  wire_.Put(RequestBytes(Command::kFlush, 2, 0, 0));
  wire_.Pump();
  EXPECT_FALSE(wire_.session->wants_receive());
  EXPECT_EQ(wire_.target->submitted, 0u);
  EXPECT_EQ(wire_.reactor().bios().reserved(), 0u) << "all or nothing";
  EXPECT_FALSE(wire_.reactor().Turn()) << "waiting costs nothing";
  EXPECT_EQ(wire_.stats.in_line.value(), 1u);
  GiveBack();
  wire_.Pump();
  EXPECT_EQ(wire_.TakeAnswers().size(), 2u);
  EXPECT_EQ(wire_.stats.in_line.value(), 0u);
  EXPECT_EQ(wire_.stats.waits_pool.value(), 1u);
}

TEST_F(SessionPoolTest, WhoComesLaterStandsBehindWhoWaits) {
  ClientStats stats;
  QuietOwner owner;
  const auto info = std::make_shared<ExportInfo>();
  info->size_bytes = Sixteen().size;
  Negotiated negotiated;
  negotiated.exported = info;
  negotiated.unparsed = RequestBytes(Command::kRead, 1, 0, 512);
  Session other(wire_.reactor(), *wire_.target, std::move(negotiated), {}, owner, stats);

  TakeAll();
  wire_.Put(WriteBytes(1, 0, kMebi));
  wire_.Pump();
  wire_.reactor().buffers().Give(&taken_.back(), 1);  // enough for the small one, if it may
  taken_.pop_back();
  TakeAll();
  wire_.target->hold = true;
  wire_.On([&] { other.Fed(0); });
  EXPECT_EQ(wire_.target->submitted, 0u);
  EXPECT_FALSE(other.wants_receive());
  GiveBack();
  EXPECT_EQ(wire_.target->submitted, 1u);
  wire_.Pump();
  EXPECT_EQ(wire_.target->submitted, 2u);
  wire_.On([&] {
    wire_.target->FinishAll();
    other.Abandon();
  });
  EXPECT_TRUE(other.idle());
}

TEST_F(SessionPoolTest, TheLastQuarterIsForConnectionsThatHoldNothing) {  // A2
  TakeAll();
  wire_.reactor().buffers().Give(&taken_.back(), 1);  // a quarter is free
  taken_.pop_back();
  wire_.target->hold = true;
  wire_.Put(Reads(0, 3, 256 * 1024));
  wire_.Pump();
  EXPECT_EQ(wire_.target->held.size(), 1u);
  wire_.On([&] { wire_.target->Finish(0); });
  wire_.Pump();
  EXPECT_EQ(wire_.target->held.size(), 1u) << "one after the other";
  GiveBack();
  wire_.On([&] { wire_.target->Finish(0); });
  wire_.Pump();
  wire_.On([&] { wire_.target->FinishAll(); });
  wire_.Pump();
  EXPECT_EQ(wire_.TakeAnswers().size(), 3u);
}

TEST_F(SessionPoolTest, AbandonLeavesTheLine) {
  TakeAll();
  wire_.Put(WriteBytes(1, 0, 8192));
  wire_.Pump();
  wire_.Abandon();
  EXPECT_TRUE(wire_.reactor().PoolLineEmpty());
  EXPECT_EQ(wire_.stats.in_line.value(), 0u);
  GiveBack();
  EXPECT_EQ(wire_.target->submitted, 0u);
}

TEST(SessionEnd, DrainAnswersNewRequestsWithEshutdownAndFinishesTheOld) {  // A4, promise 8
  SessionWire wire(Sixteen());
  wire.target->hold = true;
  wire.Put(RequestBytes(Command::kRead, 1, 0, 512));
  const Bytes half = WriteBytes(2, 0, 65536);
  wire.Put(Bytes(half.begin(), half.begin() + 1000));
  wire.Pump();
  wire.session->Drain();
  EXPECT_FALSE(wire.session->quiet());
  wire.Put(Bytes(half.begin() + 1000, half.end()));
  wire.Put(WriteBytes(3, 0, 65536));
  wire.Put(RequestBytes(Command::kFlush, 4, 0, 0));
  wire.target->hold = false;
  wire.On([&] { wire.target->FinishAll(); });
  wire.Pump();
  std::map<uint64_t, Error> errors;
  for (const Answer& answer : wire.TakeAnswers()) errors[answer.cookie] = answer.error;
  EXPECT_EQ(
      errors,
      (std::map<uint64_t, Error>{
          {1, Error::kNone}, {2, Error::kNone}, {3, Error::kShutdown}, {4, Error::kShutdown}}));
  EXPECT_TRUE(wire.session->quiet());
  EXPECT_EQ(wire.target->submitted, 2u);
}

TEST(SessionEnd, AHalfReceivedWriteChangesNothing) {  // R7
  for (const size_t size : {10u, 28u, 29u, 28u + 40000u, 28u + 65535u}) {
    SessionWire wire(Sixteen());
    const Bytes write = WriteBytes(1, 0, 65536);
    wire.Put(Bytes(write.begin(), write.begin() + static_cast<ptrdiff_t>(size)));
    wire.Pump();
    EXPECT_EQ(wire.session->awaits_payload(), size >= 28);
    wire.On([&] { wire.session->EndOfInput(); });
    EXPECT_TRUE(wire.session->finished());
    EXPECT_TRUE(wire.session->idle());
    EXPECT_EQ(wire.target->submitted, 0u);
  }
}

TEST(SessionEnd, EndOfInputFinishesWhatWasSubmitted) {
  SessionWire wire(Sixteen());
  wire.target->hold = true;
  wire.Put(WriteBytes(1, 0, 512));
  wire.Pump();
  wire.On([&] { wire.session->EndOfInput(); });
  EXPECT_FALSE(wire.session->finished());
  wire.On([&] { wire.target->FinishAll(); });
  EXPECT_FALSE(wire.session->finished()) << "the answer is still to be sent";
  wire.Pump();
  EXPECT_EQ(wire.TakeAnswers().size(), 1u);
  EXPECT_TRUE(wire.session->finished());
}

TEST(SessionEnd, MemoryGivenToAReceiveStaysUntilTheReceiveEnds) {  // R18
  SessionWire wire(Sixteen());
  wire.Put(RequestBytes(Command::kWrite, 1, 0, 65536));
  wire.Pump();
  const size_t free_bytes = wire.reactor().buffers().free_bytes();
  Segment segments[4];
  wire.On([&] { wire.session->ReceiveInto(segments, 4); });
  wire.Abandon();
  EXPECT_FALSE(wire.session->idle());
  EXPECT_EQ(wire.reactor().buffers().free_bytes(), free_bytes);
  wire.On([&] { wire.session->Fed(100); });
  EXPECT_TRUE(wire.session->idle());
  EXPECT_EQ(wire.reactor().buffers().free_bytes(), wire.reactor().buffers().bytes());
}

// Whether the target lives on another reactor.
class SessionEndAnywhere : public ::testing::TestWithParam<bool> {};

TEST_P(SessionEndAnywhere, MemoryAtTheDeviceStaysUntilTheDeviceIsDone) {  // R18
  for (const bool write : {true, false}) {
    SessionWire wire(Sixteen(GetParam()));
    wire.target->hold = true;
    wire.Put(write ? WriteBytes(1, 0, 65536) : RequestBytes(Command::kRead, 1, 0, 65536));
    wire.Pump();
    wire.Abandon();
    EXPECT_FALSE(wire.session->idle());
    EXPECT_LT(wire.reactor().buffers().free_bytes(), wire.reactor().buffers().bytes());
    wire.OnHome([&] { wire.target->FinishAll(); });
    EXPECT_TRUE(wire.session->idle());
  }
}

TEST_P(SessionEndAnywhere, WhatIsStillQueuedIsCancelledWhenThePeerIsGone) {  // promise 6
  SessionWire wire(Sixteen(GetParam()));
  wire.target->hold = wire.target->cancellable = true;
  wire.Put(WriteBytes(1, 0, 2 * kMebi));
  wire.Put(RequestBytes(Command::kTrim, 2, 0, 512));
  wire.Pump();
  EXPECT_EQ(wire.target->held.size(), 3u);
  wire.Abandon();
  EXPECT_TRUE(wire.target->held.empty());
  EXPECT_TRUE(wire.session->idle());
  EXPECT_EQ(wire.target->bytes[0], 0);
}

TEST_P(SessionEndAnywhere, AbandonInEveryStateLeavesNothingBehind) {
  // The wire's end checks that every cell and every byte came home.
  const auto abandoned_after = [](auto prepare) {
    SessionWire wire(Sixteen(GetParam()));
    prepare(wire);
    wire.Abandon();
    wire.Abandon();
    EXPECT_FALSE(wire.session->wants_receive());
    EXPECT_FALSE(wire.session->has_output());
  };
  abandoned_after([](SessionWire&) {});
  abandoned_after([](SessionWire& wire) {  // half a header
    wire.Put(Bytes(10, 0x25));
    wire.Pump();
  });
  abandoned_after([](SessionWire& wire) {  // half a refused payload
    wire.Put(RequestBytes(Command::kWrite, 1, uint64_t{1} << 40, 65536));
    wire.Pump();
  });
  abandoned_after([](SessionWire& wire) {  // answers, some half sent
    wire.send_max = 100;
    wire.Put(Reads(0, 3, 65536));
    wire.On([&] {
      Segment segments[4];
      const size_t count = wire.session->ReceiveInto(segments, 4);
      ASSERT_EQ(count, 1u);
      std::copy(wire.incoming.begin(), wire.incoming.end(),
                static_cast<uint8_t*>(segments[0].iov_base));
      wire.session->Fed(wire.incoming.size());
    });
    wire.On([&] { wire.session->Sent(50); });
  });
  abandoned_after([](SessionWire& wire) {  // a query
    wire.target->hold = true;
    wire.Put(RequestBytes(Command::kBlockStatus, 1, 0, 512));
    wire.Pump();
  });
  abandoned_after([](SessionWire& wire) {  // lent pages, not sent
    wire.target->mutable_limits().lend_bytes_max = 4096;
    wire.reads = false;
    wire.Put(Reads(0, 1, 65536));
    wire.Pump();
  });
}

TEST_P(SessionEndAnywhere, ARequestThatIsGivenUpIsAnsweredButKeepsItsMemory) {  // R15, R18
  SessionWire wire(Sixteen(GetParam()));
  wire.target->hold = true;
  wire.Put(RequestBytes(Command::kRead, 1, 0, 4096));
  wire.Pump();
  wire.OnHome([&] { Expire(*wire.target->held[0], ETIMEDOUT); });
  const auto answers = wire.Ask({});
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].error, Error::kIo);
  EXPECT_FALSE(wire.session->quiet());
  EXPECT_LT(wire.reactor().buffers().free_bytes(), wire.reactor().buffers().bytes());
  wire.OnHome([&] { wire.target->FinishAll(); });
  EXPECT_TRUE(wire.session->quiet());
}

INSTANTIATE_TEST_SUITE_P(Sessions, SessionEndAnywhere, ::testing::Bool(),
                         [](const auto& test) { return test.param ? "FromAfar" : "AtHome"; });

}  // namespace
}  // namespace sluice::nbd
