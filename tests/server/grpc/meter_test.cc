// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/meter.h"

#include <gtest/gtest.h>

#include <optional>
#include <random>
#include <string>

#include "core/units.h"
#include "tests/server/grpc/frames.h"

namespace sluice::rpc {
namespace {

constexpr uint32_t kFrameMax = 256 * 1024;

class MeterTest : public testing::Test {
 protected:
  Offence Client(const std::string& bytes) { return meter_->FromClient(Bytes(bytes), now_ns_); }
  Offence Server(const std::string& bytes) { return meter_->FromServer(Bytes(bytes), now_ns_); }
  // What comes of `frame`, sent until there is an offence, `most` times at most; sent_ counts.
  Offence Flood(const std::string& frame, int most) {
    for (sent_ = 0; sent_ < most;) {
      ++sent_;
      if (const Offence offence = Client(frame); offence != Offence::kNone) return offence;
    }
    return Offence::kNone;
  }
  void Greet() { ASSERT_EQ(Client(Greeting()), Offence::kNone); }
  void Pass(uint64_t ns) { now_ns_ += ns; }

  std::optional<Http2Meter> meter_{kFrameMax};
  uint64_t now_ns_ = kSecond;
  int sent_ = 0;
};

// A call as a client makes it: its headers, a message, the end.
std::string Call(uint32_t stream, size_t message = 4096) {
  return FrameOf(kHeaders, kEndHeaders, stream, 60) + FrameOf(kData, kEndStream, stream, message);
}
std::string Answer(uint32_t stream, size_t message = 4096) {
  return FrameOf(kHeaders, kEndHeaders, stream, 20) + FrameOf(kData, 0, stream, message) +
         FrameOf(kHeaders, kEndHeaders | kEndStream, stream, 20);
}

TEST_F(MeterTest, AnHonestClientIsNoOffenderHoweverFastItIs) {
  Greet();
  for (uint32_t stream = 1; stream < 40'000; stream += 2) {
    ASSERT_EQ(Client(Call(stream)), Offence::kNone);
    ASSERT_EQ(Server(Answer(stream)), Offence::kNone);
    // Measures bandwidth and opens windows as it is answered; gives up a call now and then.
    ASSERT_EQ(Client(FrameOf(kPing, 0, 0, 8) + FrameOf(kPing, kAck, 0, 8)), Offence::kNone);
    for (uint32_t on : {0u, stream}) {
      ASSERT_EQ(Client(FrameOf(kWindowUpdate, 0, on, 4)), Offence::kNone);
    }
    if (stream % 1000 == 1) {
      ASSERT_EQ(Client(FrameOf(kRstStream, 0, stream, 4)), Offence::kNone);
    }
    Pass(20 * kMicrosecond);
  }
}

TEST_F(MeterTest, GivingUpAllStreamsAtOnceIsNoOffence) {
  Greet();
  EXPECT_EQ(Flood(FrameOf(kRstStream, 0, 1, 4), 128), Offence::kNone);
  Pass(10 * kSecond);
  EXPECT_EQ(Flood(FrameOf(kRstStream, 0, 1, 4), 128), Offence::kNone);
}

// As on a drive that hangs: all of the 128 calls that a connection may have time out together, and
// the client tries again.
TEST_F(MeterTest, AClientWhoseCallsAllTimeOutAgainAndAgainIsNoOffender) {
  for (const uint64_t deadline_ns : {500 * kMillisecond, 50 * kMillisecond, 16 * kMillisecond}) {
    meter_.emplace(kFrameMax);
    Greet();
    uint32_t stream = 1;
    for (int round = 0; round < 1000; ++round) {
      const uint32_t first = stream;
      for (; stream < first + 256; stream += 2) ASSERT_EQ(Client(Call(stream)), Offence::kNone);
      Pass(deadline_ns);
      for (uint32_t late = first; late < stream; late += 2) {
        ASSERT_EQ(Client(FrameOf(kRstStream, 0, late, 4)), Offence::kNone) << round;
      }
    }
  }
}

// As gRPC tells it a client whose deadline is over: at once, and again when the call is taken.
TEST_F(MeterTest, CallsThatTheServerEndsAndResetsAreNoOffence) {
  Greet();
  for (uint32_t stream = 1; stream < 20'000; stream += 2) {
    const std::string over =
        FrameOf(kHeaders, kEndHeaders | kEndStream, stream, 91) + FrameOf(kRstStream, 0, stream, 4);
    ASSERT_EQ(Server(over + over), Offence::kNone) << stream;
  }
}

// With more calls than that: those behind get their stream when it is too late for them as well.
TEST_F(MeterTest, ALineOfCallsThatTimesOutBehindThemIsNoOffence) {
  Greet();
  EXPECT_EQ(Flood(FrameOf(kRstStream, 0, 1, 4), 4 * 128), Offence::kNone);
}

TEST_F(MeterTest, RapidResetIsSeenSoon) {
  Greet();
  uint32_t stream = 1;
  Offence offence = Offence::kNone;
  while (offence == Offence::kNone && stream < 10'000) {
    offence = Client(Call(stream, 0) + FrameOf(kRstStream, 0, stream, 4));
    stream += 2;
  }
  EXPECT_EQ(offence, Offence::kResets);
  EXPECT_LE(stream / 2, 513u);  // within the burst
}

TEST_F(MeterTest, StreamsThatTheServerHasToResetAreCounted) {
  Greet();
  for (int i = 0; i < 1024; ++i) ASSERT_EQ(Server(FrameOf(kRstStream, 0, 1, 4)), Offence::kNone);
  EXPECT_EQ(Server(FrameOf(kRstStream, 0, 1, 4)), Offence::kProvokedResets);
}

TEST_F(MeterTest, TrailersExcuseTheResetOfTheirStreamAlone) {
  Greet();
  const std::string other =
      FrameOf(kHeaders, kEndHeaders | kEndStream, 3, 20) + FrameOf(kRstStream, 0, 1, 4);
  const std::string begun = FrameOf(kHeaders, kEndHeaders, 1, 20) + FrameOf(kRstStream, 0, 1, 4);
  for (int i = 0; i < 512; ++i) ASSERT_EQ(Server(other + begun), Offence::kNone);
  EXPECT_EQ(Server(other), Offence::kProvokedResets);
}

TEST_F(MeterTest, AHeaderBlockHasAnEnd) {
  Greet();
  EXPECT_EQ(Client(FrameOf(kHeaders, 0, 1, 1000) + FrameOf(kContinuation, kEndHeaders, 1, 1000)),
            Offence::kNone);
  EXPECT_EQ(Client(FrameOf(kHeaders, 0, 3, 16'000)), Offence::kNone);
  EXPECT_EQ(Flood(FrameOf(kContinuation, 0, 3, 8'000), 100), Offence::kHeaderBlock);
  EXPECT_EQ(sent_, 3);
}

TEST_F(MeterTest, EmptyContinuationsHaveAnEnd) {
  Greet();
  EXPECT_EQ(Client(FrameOf(kHeaders, 0, 1, 10)), Offence::kNone);
  EXPECT_EQ(Flood(FrameOf(kContinuation, 0, 1, 0), 100), Offence::kHeaderBlock);
  EXPECT_EQ(sent_, 9);
}

TEST_F(MeterTest, AHeaderBlockIsSeenBeforeItsPayloadComes) {
  Greet();
  const std::string frame = FrameOf(kHeaders, 0, 1, Http2Meter::kHeaderBlockMax + 1);
  EXPECT_EQ(Client(frame.substr(0, 9)), Offence::kHeaderBlock);
}

TEST_F(MeterTest, EachFloodIsNamed) {
  const struct {
    std::string frame;
    Offence offence;
    int most;
  } floods[] = {
      {FrameOf(kPing, 0, 0, 8), Offence::kPings, 257},
      {FrameOf(kPing, kAck, 0, 8), Offence::kPings, 257},
      {FrameOf(kSettings, 0, 0, 6), Offence::kSettings, 65},
      {FrameOf(kSettings, kAck, 0, 0), Offence::kSettings, 65},
      {FrameOf(kPriority, 0, 1, 5), Offence::kPriorities, 129},
      {FrameOf(kRstStream, 0, 1, 4), Offence::kResets, 513},
      {FrameOf(kWindowUpdate, 0, 0, 4), Offence::kWindowUpdates, 8193},
      {FrameOf(kData, 0, 1, 0), Offence::kEmptyData, 129},
      {FrameOf(kData, kPadded, 1, 100), Offence::kOthers, 65},
      {FrameOf(kGoAway, 0, 0, 8), Offence::kOthers, 65},
      {FrameOf(200, 0, 0, 8), Offence::kOthers, 65},
  };
  for (const auto& flood : floods) {
    Http2Meter fresh(kFrameMax);
    ASSERT_EQ(fresh.FromClient(Bytes(Greeting()), now_ns_), Offence::kNone);
    int sent = 0;
    Offence offence = Offence::kNone;
    while (offence == Offence::kNone && sent < 20'000) {
      ++sent;
      offence = fresh.FromClient(Bytes(flood.frame), now_ns_);
    }
    EXPECT_EQ(offence, flood.offence) << TextOf(offence);
    EXPECT_LE(sent, flood.most) << TextOf(flood.offence);
  }
}

TEST_F(MeterTest, BudgetsComeBackWithTime) {
  Greet();
  EXPECT_EQ(Flood(FrameOf(kPing, 0, 0, 8), 256), Offence::kNone);
  Pass(10 * kSecond);
  EXPECT_EQ(Flood(FrameOf(kPing, 0, 0, 8), 100), Offence::kNone);
  EXPECT_EQ(Flood(FrameOf(kPing, 0, 0, 8), 100), Offence::kPings);
}

TEST_F(MeterTest, WhatIsNoHttp2IsSeenAtItsFirstBytes) {
  EXPECT_EQ(Client("GET "), Offence::kNotHttp2);
  Http2Meter late(kFrameMax);
  EXPECT_EQ(late.FromClient(Bytes(Preface() + FrameOf(kHeaders, kEndHeaders, 1, 9)), now_ns_),
            Offence::kNotHttp2);
}

TEST_F(MeterTest, FramesThatCannotStandWhereTheyDoAreOffences) {
  Greet();
  EXPECT_EQ(Client(FrameOf(kContinuation, kEndHeaders, 1, 9)), Offence::kNotHttp2);
  Http2Meter broken(kFrameMax);
  EXPECT_EQ(broken.FromClient(
                Bytes(Greeting() + FrameOf(kHeaders, 0, 1, 9) + FrameOf(kData, 0, 1, 9)), now_ns_),
            Offence::kNotHttp2);
  Http2Meter pushing(kFrameMax);
  EXPECT_EQ(pushing.FromClient(Bytes(Greeting() + FrameOf(kPushPromise, 0, 1, 9)), now_ns_),
            Offence::kNotHttp2);
}

TEST_F(MeterTest, AFrameIsNoLargerThanTheServerSaid) {
  Greet();
  EXPECT_EQ(Client(FrameOf(kData, 0, 1, kFrameMax)), Offence::kNone);
  EXPECT_EQ(Client(FrameOf(kData, 0, 1, kFrameMax + 1)), Offence::kFrameSize);
}

TEST_F(MeterTest, NewStreamsAndFramesAreCountedForThePace) {
  Greet();
  EXPECT_EQ(Client(Call(1) + Call(3) + FrameOf(kHeaders, kEndHeaders, 3, 9)), Offence::kNone);
  const Http2Meter::Passed passed = meter_->Take();
  EXPECT_EQ(passed.streams, 2u);  // trailers begin none
  EXPECT_EQ(passed.frames, 6u);
  EXPECT_EQ(meter_->Take().frames, 0u);
}

TEST_F(MeterTest, ResetsAreCountedForThePace) {
  Greet();
  meter_->Take();
  ASSERT_EQ(Client(Call(1) + FrameOf(kRstStream, 0, 1, 4)), Offence::kNone);
  EXPECT_EQ(meter_->Take().resets, 1u);
  EXPECT_EQ(meter_->Take().resets, 0u);
  ASSERT_EQ(Server(FrameOf(kRstStream, 0, 3, 4)), Offence::kNone);  // provoked
  EXPECT_EQ(meter_->Take().resets, 1u);
  ASSERT_EQ(Server(Answer(5) + FrameOf(kRstStream, 0, 5, 4)), Offence::kNone);  // in order
  EXPECT_EQ(meter_->Take().resets, 0u);
}

TEST_F(MeterTest, TheServersFramesHaveBordersThatAreKnown) {
  EXPECT_TRUE(meter_->server_between_frames());
  const std::string answer = Answer(1);
  for (size_t i = 0; i < answer.size(); ++i) {
    ASSERT_EQ(Server(answer.substr(i, 1)), Offence::kNone);
    const bool border = i + 1 == 29 || i + 1 == 29 + 9 + 4096 || i + 1 == answer.size();
    ASSERT_EQ(meter_->server_between_frames(), border) << i;
  }
}

// The same dialogue, cut at every byte: what is seen does not depend on the cut.
TEST_F(MeterTest, ItDoesNotMatterWhereBytesAreCut) {
  const std::string dialogue = Greeting() + Call(1, 100) + FrameOf(kHeaders, 0, 3, 20) +
                               FrameOf(kContinuation, kEndHeaders, 3, 20) +
                               FrameOf(kPing, 0, 0, 8) + FrameOf(kContinuation, 0, 3, 7);
  for (size_t cut = 0; cut <= dialogue.size(); ++cut) {
    Http2Meter meter(kFrameMax);
    Offence offence = meter.FromClient(Bytes(dialogue.substr(0, cut)), now_ns_);
    if (offence == Offence::kNone) {
      offence = meter.FromClient(Bytes(dialogue.substr(cut)), now_ns_);
    }
    ASSERT_EQ(offence, Offence::kNotHttp2) << cut;
    ASSERT_EQ(meter.Take().frames, 7u) << cut;
  }
}

TEST_F(MeterTest, RandomBytesAreTakenInAnyPartsAlike) {
  std::mt19937 random(7);
  for (int round = 0; round < 3000; ++round) {
    std::string bytes = Greeting();
    for (int frame = 0; frame < 20; ++frame) {
      if (random() % 4 == 0) {
        for (int i = 0; i < 12; ++i) bytes += static_cast<char>(random());
      } else {
        bytes += FrameOf(static_cast<uint8_t>(random() % 12), static_cast<uint8_t>(random()),
                         static_cast<uint32_t>(random() % 9), random() % 40);
      }
    }
    Http2Meter whole(kFrameMax);
    const Offence expected = whole.FromClient(Bytes(bytes), now_ns_);
    Http2Meter parts(kFrameMax);
    Offence offence = Offence::kNone;
    for (size_t at = 0; at < bytes.size() && offence == Offence::kNone;) {
      const size_t size = 1 + random() % 13;
      offence = parts.FromClient(Bytes(bytes.substr(at, size)), now_ns_);
      at += size;
    }
    ASSERT_EQ(offence, expected) << "round " << round;
  }
}

}  // namespace
}  // namespace sluice::rpc
