// SPDX-License-Identifier: Apache-2.0
// The handshake as a function of a byte stream: however it is cut, truncated or damaged.
#include <gtest/gtest.h>

#include <random>

#include "tests/server/handshake_client.h"

namespace sluice::nbd {
namespace {

// What a handshake did with a byte stream cut into pieces.
struct Outcome {
  Bytes output;
  Handshake::State state = {};
  Bytes unparsed;
  std::string reason;
  bool operator==(const Outcome&) const = default;
};

class HandshakeStreamTest : public ::testing::Test {
 protected:
  HandshakeStreamTest() { exports_.Add("disk", 1u << 20); }

  Outcome Run(const std::vector<ConstByteSpan>& pieces) {
    Handshake handshake(exports_);
    Outcome outcome;
    for (const ConstByteSpan piece : pieces) {
      handshake.Receive(piece);
      if (handshake.state() == Handshake::State::kAdmitting) handshake.Admitted();
      Append(outcome.output, TakeOutput(handshake));
    }
    outcome.state = handshake.state();
    outcome.reason = handshake.reason();
    if (outcome.state == Handshake::State::kDone) {
      outcome.unparsed = handshake.TakeResult().unparsed;
    }
    return outcome;
  }

  static Bytes Dialogue() {
    Bytes bytes = ClientFlags();
    Append(bytes, OptionBytes(Option::kList));
    Append(bytes, OptionBytes(static_cast<Option>(77), Bytes(50, 1)));
    Append(bytes, OptionBytes(Option::kStructuredReply));
    Append(bytes, OptionBytes(Option::kSetMetaContext, MetaQueryBytes("disk", {kBaseAllocation})));
    Append(bytes, OptionBytes(Option::kInfo, ExportQueryBytes("no such", {Info::kName})));
    Append(bytes, OptionBytes(Option::kGo, ExportQueryBytes("disk", {Info::kBlockSize})));
    Append(bytes, BytesOf("requests"));
    return bytes;
  }

  FakeExports exports_;
};

TEST_F(HandshakeStreamTest, AnySplitGivesTheSameResult) {
  const Bytes dialogue = Dialogue();
  const ConstByteSpan all(dialogue);
  const Outcome whole = Run({all});
  ASSERT_EQ(whole.state, Handshake::State::kDone);
  ASSERT_EQ(whole.unparsed, BytesOf("requests"));
  for (size_t cut = 0; cut <= all.size(); ++cut) {
    ASSERT_EQ(Run({all.first(cut), all.subspan(cut)}), whole) << cut;
  }
  std::vector<ConstByteSpan> bytewise;
  for (size_t i = 0; i < all.size(); ++i) bytewise.push_back(all.subspan(i, 1));
  EXPECT_EQ(Run(bytewise), whole);
}

TEST_F(HandshakeStreamTest, EveryTruncationIsQuietAndKeepsTalking) {
  const Bytes dialogue = Dialogue();
  for (size_t size = 0; size + 8 < dialogue.size(); ++size) {
    ASSERT_EQ(Run({ConstByteSpan(dialogue).first(size)}).state, Handshake::State::kTalking) << size;
  }
}

void Mutate(Bytes& bytes, std::mt19937_64& random) {
  const auto at = bytes.begin() + static_cast<ptrdiff_t>(random() % bytes.size());
  switch (random() % 3) {
    case 0:
      *at = static_cast<uint8_t>(random());
      break;
    case 1:
      bytes.erase(at);
      break;
    default:
      bytes.insert(at, static_cast<uint8_t>(random()));
  }
}

TEST_F(HandshakeStreamTest, MutatedDialoguesNeverBreakIt) {  // A7
  std::mt19937_64 random(20240711);
  size_t done = 0;
  size_t closing = 0;
  for (int round = 0; round < 20000; ++round) {
    Bytes bytes = Dialogue();
    for (uint64_t n = random() % 4 + 1; n > 0; --n) Mutate(bytes, random);
    const ConstByteSpan all(bytes);
    const size_t cut = random() % all.size();
    const Outcome outcome = Run({all.first(cut), all.subspan(cut)});
    ASSERT_TRUE(DecodeGreeting(ConstByteSpan(outcome.output).first(kGreetingBytes)));
    const bool closed = outcome.state == Handshake::State::kClosing;
    ASSERT_EQ(closed, !outcome.reason.empty());
    closing += closed;
    done += outcome.state == Handshake::State::kDone;
  }
  EXPECT_GT(done, 100u);
  EXPECT_GT(closing, 100u);
}

}  // namespace
}  // namespace sluice::nbd
