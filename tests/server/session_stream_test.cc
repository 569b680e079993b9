// SPDX-License-Identifier: Apache-2.0
// The session as a function of a byte stream: however it is cut, sent on, or damaged.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "core/log.h"
#include "tests/server/session_client.h"

namespace sluice::nbd {
namespace {

struct Variety {
  const char* name;
  bool structured;
  bool crossing;
};

SessionSetup SetupOf(const Variety& variety) {
  SessionSetup setup;
  setup.size = 128 << 10;
  setup.pool_bytes = 1 << 20;
  setup.structured = setup.contexts = variety.structured;
  setup.crossing = variety.crossing;
  setup.info.can_trim = setup.info.can_zero = true;
  return setup;
}

// All commands, good and bad, with payloads that go through staging and past it.
Bytes Dialogue() {
  Bytes bytes;
  const auto add = [&bytes](const Bytes& more) {
    bytes.insert(bytes.end(), more.begin(), more.end());
  };
  add(WriteBytes(1, 0, 1024));
  add(RequestBytes(Command::kRead, 2, 0, 16384));
  add(WriteBytes(3, 128 << 10, 512));  // past the end
  add(WriteBytes(4, 8192, 40 << 10, kFlagFua));
  add(RequestBytes(Command::kBlockStatus, 5, 0, 65536));
  add(RequestBytes(Command::kWriteZeroes, 6, 4096, 8192, kFlagNoHole));
  add(RequestBytes(static_cast<Command>(77), 7, 0, 512));
  add(RequestBytes(Command::kTrim, 8, 65536, 4096));
  add(RequestBytes(Command::kFlush, 9, 0, 0));
  add(RequestBytes(Command::kRead, 10, 512, 40 << 10));
  add(WriteBytes(11, 512, 512, 0x4000));
  add(RequestBytes(Command::kRead, 12, 0, 0));
  add(RequestBytes(Command::kDisc, 13, 0, 0));
  return bytes;
}

// What a session answered, by cookie, and what it left on the disk.
struct Outcome {
  std::map<uint64_t, std::vector<Answer>> answers;
  std::vector<char> disk;
  bool finished = false;
  bool operator==(const Outcome&) const = default;
};

class SessionStreamTest : public ::testing::TestWithParam<Variety> {
 protected:
  SessionStreamTest() {
    SetLogSink([](LogLevel, absl::string_view) {});
  }
  ~SessionStreamTest() override { SetLogSink(nullptr); }

  static Outcome Run(SessionWire& wire, const std::vector<Bytes>& pieces) {
    wire.target->extents = {{4096, false, false}, {uint64_t{1} << 40, true, true}};
    wire.simple_reads = {{2, 16384}, {10, 40 << 10}, {12, 0}};
    for (const Bytes& piece : pieces) {
      wire.Put(piece);
      wire.Pump();
    }
    Outcome outcome;
    for (Answer& answer : wire.TakeAnswers()) {
      outcome.answers[answer.cookie].push_back(std::move(answer));
    }
    EXPECT_TRUE(wire.outgoing.empty());
    outcome.disk = wire.target->bytes;
    outcome.finished = wire.session->finished();
    return outcome;
  }
  static Outcome Run(const std::vector<Bytes>& pieces) {
    SessionWire wire(SetupOf(GetParam()));
    return Run(wire, pieces);
  }
};

std::vector<Bytes> CutAt(const Bytes& bytes, std::vector<size_t> cuts) {
  std::sort(cuts.begin(), cuts.end());
  cuts.push_back(bytes.size());
  std::vector<Bytes> pieces;
  size_t from = 0;
  for (const size_t cut : cuts) {
    pieces.emplace_back(bytes.begin() + static_cast<ptrdiff_t>(from),
                        bytes.begin() + static_cast<ptrdiff_t>(cut));
    from = cut;
  }
  return pieces;
}

TEST_P(SessionStreamTest, TheWholeDialogueIsAnswered) {
  const Outcome whole = Run({Dialogue()});
  EXPECT_TRUE(whole.finished);
  EXPECT_EQ(whole.answers.size(), 12u);
  for (const uint64_t good : {1, 2, 4, 6, 8, 9, 10, 12}) {
    EXPECT_EQ(whole.answers.at(good).back().error, Error::kNone) << good;
  }
  for (const uint64_t bad : {3, 7, 11}) {
    EXPECT_NE(whole.answers.at(bad).back().error, Error::kNone) << bad;
  }
  EXPECT_EQ(whole.answers.at(5).back().error, GetParam().structured ? Error::kNone : Error::kInval);
}

TEST_P(SessionStreamTest, AnySplitGivesTheSameResult) {
  const Bytes dialogue = Dialogue();
  const Outcome whole = Run({dialogue});
  // Every point but those deep inside the long payload, which are taken by steps.
  for (size_t cut = 0; cut <= dialogue.size(); cut += cut > 1900 && cut < 42000 ? 487 : 1) {
    ASSERT_EQ(Run(CutAt(dialogue, {cut})), whole) << cut;
  }
}

TEST_P(SessionStreamTest, RandomSplitsAndPartialSendsGiveTheSameResult) {
  const Bytes dialogue = Dialogue();
  const Outcome whole = Run({dialogue});
  for (uint64_t seed = 0; seed < 200; ++seed) {
    std::mt19937_64 random(seed);
    std::vector<size_t> cuts;
    for (uint64_t n = random() % 20; n > 0; --n) cuts.push_back(random() % dialogue.size());
    SessionSetup setup = SetupOf(GetParam());
    setup.options.requests_max = 1 + static_cast<uint32_t>(random() % 4);
    SessionWire wire(setup);
    wire.receive_max = 1 + random() % (random() % 2 == 0 ? 5000 : 100000);
    wire.send_max = 1 + random() % (random() % 2 == 0 ? 500 : 50000);
    ASSERT_EQ(Run(wire, CutAt(dialogue, cuts)), whole) << "seed " << seed;
  }
}

TEST_P(SessionStreamTest, WhatTheHandshakeLeftMayEndAnywhere) {
  const Bytes dialogue = Dialogue();
  const Outcome whole = Run({dialogue});
  for (const size_t cut : {1u, 27u, 28u, 500u, 1052u, 2000u, 30000u}) {
    const std::vector<Bytes> pieces = CutAt(dialogue, {cut});
    SessionSetup setup = SetupOf(GetParam());
    setup.unparsed = pieces[0];
    SessionWire wire(setup);
    wire.target->extents = {{4096, false, false}, {uint64_t{1} << 40, true, true}};
    wire.On([&] { wire.session->Fed(0); });
    ASSERT_EQ(Run(wire, {pieces[1]}), whole) << cut;
  }
}

TEST_P(SessionStreamTest, MutatedDialoguesNeverBreakIt) {  // A7, promise 4
  std::mt19937_64 random(GetParam().structured ? 1 : 2);
  SessionSetup setup = SetupOf(GetParam());
  setup.size = 64 << 10;
  Bytes dialogue;
  for (const Bytes& part :
       {WriteBytes(1, 0, 512), RequestBytes(Command::kRead, 2, 0, 8192),
        RequestBytes(Command::kBlockStatus, 3, 0, 4096), WriteBytes(4, 512, 1024),
        RequestBytes(Command::kWriteZeroes, 5, 0, 4096), RequestBytes(Command::kTrim, 6, 0, 512),
        RequestBytes(Command::kFlush, 7, 0, 0), RequestBytes(Command::kCache, 8, 0, 512)}) {
    dialogue.insert(dialogue.end(), part.begin(), part.end());
  }
  size_t ended = 0;
  for (int round = 0; round < 10000; ++round) {
    Bytes bytes = dialogue;
    for (uint64_t n = random() % 4 + 1; n > 0; --n) {
      const auto at = bytes.begin() + static_cast<ptrdiff_t>(random() % bytes.size());
      switch (random() % 3) {
        case 0:
          *at = static_cast<uint8_t>(random());
          break;
        case 1:
          bytes.erase(at, at + std::min<ptrdiff_t>(bytes.end() - at,
                                                   static_cast<ptrdiff_t>(random() % 30)));
          break;
        default:
          bytes.insert(at, static_cast<uint8_t>(random()));
      }
      if (bytes.empty()) bytes.push_back(0);
    }
    SessionWire wire(setup);
    wire.receive_max = 1 + random() % 2000;
    wire.target->hold = random() % 4 == 0;
    wire.Put(bytes);
    wire.Pump();
    ASSERT_TRUE(wire.session->wants_receive() || wire.session->finished() || wire.target->hold);
    ended += !wire.session->end_reason().empty();
  }  // each wire's end checks that all memory came home
  EXPECT_GT(ended, 1000u);
  EXPECT_LT(ended, 9900u);
}

INSTANTIATE_TEST_SUITE_P(Replies, SessionStreamTest,
                         ::testing::Values(Variety{"Structured", true, false},
                                           Variety{"Simple", false, false},
                                           Variety{"StructuredFromAfar", true, true},
                                           Variety{"SimpleFromAfar", false, true}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace sluice::nbd
