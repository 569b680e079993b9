// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/handshake.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/server/handshake_client.h"

namespace sluice::nbd {
namespace {

using ::testing::HasSubstr;

// A client in the middle of a handshake: the greeting is read, the flags are sent.
class HandshakeTest : public ::testing::Test {
 protected:
  HandshakeTest() {
    ExportInfo& disk = exports_.Add("disk", 1u << 30);
    disk.description = "a disk";
    disk.can_trim = disk.can_zero = true;
    disk.preferred_block_bytes = 65536;
    exports_.Add("readonly", 4096).read_only = true;
    Reset();
  }

  void Reset(uint32_t client_flags = kFixedNewstyle | kNoZeroes) {
    handshake_ = std::make_unique<Handshake>(exports_, limits_);
    EXPECT_EQ(DecodeGreeting(TakeOutput(*handshake_)), kFixedNewstyle | kNoZeroes);
    handshake_->Receive(ClientFlags(client_flags));
  }

  // Sends an option and returns its answers; admission is granted at once.
  std::vector<OptionAnswer> Ask(Option option, ConstByteSpan data = {}) {
    return AskRaw(OptionBytes(option, data));
  }
  std::vector<OptionAnswer> AskRaw(ConstByteSpan bytes) {
    handshake_->Receive(bytes);
    if (state() == Handshake::State::kAdmitting) handshake_->Admitted();
    Bytes rest;
    auto answers = ParseAnswers(TakeOutput(*handshake_), &rest);
    EXPECT_TRUE(rest.empty());
    return answers;
  }
  // The one answer to an option.
  OptionAnswer AskOne(Option option, ConstByteSpan data = {}) {
    auto answers = Ask(option, data);
    EXPECT_EQ(answers.size(), 1u);
    return answers.empty() ? OptionAnswer{} : answers.front();
  }
  OptionReply Verdict(Option option, ConstByteSpan data = {}) {
    auto answers = Ask(option, data);
    return answers.empty() ? OptionReply{} : answers.back().type;
  }

  Handshake::State state() const { return handshake_->state(); }
  bool alive() { return Verdict(Option::kList) == OptionReply::kAck; }
  bool closed() const { return state() == Handshake::State::kClosing; }

  FakeExports exports_;
  Handshake::Limits limits_;
  std::unique_ptr<Handshake> handshake_;
};

TEST_F(HandshakeTest, UnknownClientFlagCloses) {
  for (const uint32_t flags : {4u, 0x80000000u, 7u}) {
    Reset(flags);
    EXPECT_TRUE(closed());
    EXPECT_THAT(handshake_->reason(), HasSubstr("flags"));
  }
}

TEST_F(HandshakeTest, OptionWithBadMagicCloses) {
  Bytes bytes = OptionBytes(Option::kList);
  bytes[7] ^= 1;
  EXPECT_TRUE(AskRaw(bytes).empty());
  EXPECT_TRUE(closed());
}

TEST_F(HandshakeTest, UnknownOptionIsUnsupportedWithTextWhateverItsDataIs) {
  for (const size_t size : {0u, 10u, 100000u, 102400u}) {
    const auto answer = AskOne(static_cast<Option>(77), Bytes(size, 0xee));
    EXPECT_EQ(answer.type, OptionReply::kErrUnsup);
    EXPECT_THAT(answer.text(), HasSubstr("77"));
    EXPECT_TRUE(alive());
  }
  EXPECT_EQ(Verdict(Option::kPeekExport), OptionReply::kErrUnsup);
  EXPECT_EQ(Verdict(Option::kExtendedHeaders), OptionReply::kErrUnsup);
}

TEST_F(HandshakeTest, StartTlsIsForbiddenByPolicy) {
  EXPECT_EQ(AskOne(Option::kStartTls).type, OptionReply::kErrPolicy);
  EXPECT_TRUE(alive());
}

TEST_F(HandshakeTest, AnOptionLongerThanTheLimitClosesAtItsHeader) {  // A1, CVE-2017-15119
  for (const uint32_t length : {0x7fffffffu, 0xffffffffu, Handshake::kMaxOptionBytes + 1}) {
    for (const Option option : {Option::kGo, Option::kList, static_cast<Option>(77)}) {
      Reset();
      EXPECT_TRUE(AskRaw(EncodeOptionHeader({option, length})).empty());
      EXPECT_TRUE(closed());
    }
  }
}

TEST_F(HandshakeTest, TheLongestOptionIsServed) {
  EXPECT_EQ(Verdict(Option::kList, Bytes(Handshake::kMaxOptionBytes)), OptionReply::kErrInvalid);
  EXPECT_TRUE(alive());
}

TEST_F(HandshakeTest, ListNamesEveryExport) {
  const auto answers = Ask(Option::kList);
  ASSERT_EQ(answers.size(), 3u);
  EXPECT_EQ(DecodeServerEntry(answers[0].data), (ServerEntry{"disk", "a disk"}));
  EXPECT_EQ(DecodeServerEntry(answers[1].data), (ServerEntry{"readonly", ""}));
  EXPECT_EQ(answers[2].type, OptionReply::kAck);
}

TEST_F(HandshakeTest, ListWithDataIsInvalid) {
  EXPECT_EQ(Verdict(Option::kList, BytesOf("x")), OptionReply::kErrInvalid);
  EXPECT_TRUE(alive());
}

TEST_F(HandshakeTest, ListDropsDescriptionsAndThenRefusesWhenTheReplyGrowsTooLong) {
  limits_.list_reply_bytes = 2 * (kOptionReplyHeaderBytes + 4) + sizeof("diskreadonly") - 1;
  Reset();
  auto answers = Ask(Option::kList);
  ASSERT_EQ(answers.size(), 3u);
  EXPECT_EQ(DecodeServerEntry(answers[0].data), (ServerEntry{"disk", ""}));
  --limits_.list_reply_bytes;
  Reset();
  EXPECT_EQ(AskOne(Option::kList).type, OptionReply::kErrTooBig);
}

TEST_F(HandshakeTest, AbortIsAcknowledgedAndEndsIt) {
  EXPECT_EQ(AskOne(Option::kAbort, BytesOf("ignored")).type, OptionReply::kAck);
  EXPECT_TRUE(closed());
}

TEST_F(HandshakeTest, GoAnswersInfosOnceEachAndEntersTransmission) {
  const auto answers =
      Ask(Option::kGo, ExportQueryBytes("disk", {Info::kBlockSize, Info::kBlockSize, Info::kName,
                                                 Info::kDescription, static_cast<Info>(99)}));
  ASSERT_EQ(answers.size(), 5u);
  const uint16_t flags =
      kHasFlags | kSendFlush | kSendFua | kSendTrim | kSendWriteZeroes | kCanMultiConn | kSendCache;
  EXPECT_EQ(DecodeInfoExport(answers[0].data), (InfoExport{1u << 30, flags}));
  EXPECT_EQ(DecodeInfoText(answers[1].data), (InfoText{Info::kName, "disk"}));
  EXPECT_EQ(DecodeInfoText(answers[2].data), (InfoText{Info::kDescription, "a disk"}));
  EXPECT_EQ(DecodeInfoBlockSize(answers[3].data), (InfoBlockSize{512, 65536, 32u << 20}));
  EXPECT_EQ(answers[4].type, OptionReply::kAck);
  ASSERT_EQ(state(), Handshake::State::kDone);
  const Negotiated result = handshake_->TakeResult();
  EXPECT_EQ(result.exported, exports_.all[0]);
  EXPECT_TRUE(result.block_sizes);
  EXPECT_FALSE(result.structured_replies);
  EXPECT_FALSE(result.allocation_context);
}

TEST_F(HandshakeTest, InfoAnswersAsGoDoes) {
  const Bytes query = ExportQueryBytes("disk", {Info::kName, Info::kBlockSize});
  auto info = Ask(Option::kInfo, query);
  EXPECT_EQ(state(), Handshake::State::kTalking);
  auto go = Ask(Option::kGo, query);
  ASSERT_EQ(info.size(), go.size());
  for (size_t i = 0; i < go.size(); ++i) {
    EXPECT_EQ(info[i].type, go[i].type);
    EXPECT_EQ(info[i].data, go[i].data);
    EXPECT_EQ(info[i].option, Option::kInfo);
  }
}

TEST_F(HandshakeTest, InfoOfOneExportDoesNotBindTheNext) {  // CVE-2019-14851
  Ask(Option::kInfo, ExportQueryBytes("disk", {Info::kBlockSize}));
  Ask(Option::kGo, ExportQueryBytes("readonly"));
  const Negotiated result = handshake_->TakeResult();
  EXPECT_EQ(result.exported, exports_.all[1]);
  EXPECT_FALSE(result.block_sizes);
}

TEST_F(HandshakeTest, MalformedGoIsInvalidAndTheNextOptionIsServed) {
  Bytes name_too_long = ExportQueryBytes("disk");
  StoreBigEndian(name_too_long.data(), uint32_t{100});
  Bytes junk = ExportQueryBytes("disk");
  junk.push_back(0);
  Bytes long_name(4 + 4097 + 2, 'n');
  StoreBigEndian(long_name.data(), uint32_t{4097});
  StoreBigEndian(long_name.data() + 4 + 4097, uint16_t{0});
  Bytes nul = ExportQueryBytes("disk");
  nul[6] = 0;
  Bytes not_utf8 = ExportQueryBytes("disk");
  not_utf8[6] = 0xff;
  for (const Bytes& bad : {name_too_long, Bytes(3), Bytes(), junk, long_name, nul, not_utf8}) {
    for (const Option option : {Option::kGo, Option::kInfo}) {
      EXPECT_EQ(Verdict(option, bad), OptionReply::kErrInvalid);
      EXPECT_TRUE(alive());
    }
  }
}

TEST_F(HandshakeTest, UnknownExportIsToldSoInEscapedWords) {  // S2, CVE-2020-10761
  const auto answer = AskOne(Option::kGo, ExportQueryBytes("no\nsuch"));
  EXPECT_EQ(answer.type, OptionReply::kErrUnknown);
  EXPECT_THAT(answer.text(), HasSubstr("no\\nsuch"));
  const auto longest = AskOne(Option::kGo, ExportQueryBytes(std::string(4096, '\x01')));
  EXPECT_EQ(longest.type, OptionReply::kErrUnknown);
  EXPECT_LE(longest.data.size(), kMaxTextBytes);
  for (const std::string_view near : {"dis", "diskk", "Disk", "disk "}) {
    EXPECT_EQ(Verdict(Option::kInfo, ExportQueryBytes(near)), OptionReply::kErrUnknown);
  }
  EXPECT_TRUE(alive());
}

TEST_F(HandshakeTest, TheEmptyNameIsTheDefaultExportIfThereIsOne) {
  EXPECT_EQ(Verdict(Option::kGo, ExportQueryBytes("")), OptionReply::kErrUnknown);
  exports_.default_export = exports_.all[0];
  const auto answers = Ask(Option::kGo, ExportQueryBytes("", {Info::kName}));
  ASSERT_EQ(answers.size(), 3u);
  EXPECT_EQ(DecodeInfoText(answers[1].data)->text, "disk");
}

TEST_F(HandshakeTest, GoWaitsForAdmissionAndKeepsWhatComesBehind) {  // promise 6
  Bytes bytes = OptionBytes(Option::kGo, ExportQueryBytes("disk"));
  Append(bytes, BytesOf("first request"));
  handshake_->Receive(bytes);
  ASSERT_EQ(state(), Handshake::State::kAdmitting);
  EXPECT_EQ(handshake_->requested(), exports_.all[0]);
  EXPECT_FALSE(handshake_->wants_receive());
  EXPECT_TRUE(handshake_->output().empty());
  handshake_->Receive(BytesOf(", second"));
  EXPECT_EQ(state(), Handshake::State::kAdmitting);
  handshake_->Admitted();
  EXPECT_EQ(ParseAnswers(TakeOutput(*handshake_)).back().type, OptionReply::kAck);
  EXPECT_EQ(handshake_->TakeResult().unparsed, BytesOf("first request, second"));
}

TEST_F(HandshakeTest, ARefusedGoIsAnsweredAndTheHandshakeGoesOn) {
  Bytes bytes = OptionBytes(Option::kGo, ExportQueryBytes("disk"));
  Append(bytes, OptionBytes(Option::kAbort));
  handshake_->Receive(bytes);
  handshake_->Refused(OptionReply::kErrPolicy, "too many connections");
  const auto answers = ParseAnswers(TakeOutput(*handshake_));
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_EQ(answers[0].type, OptionReply::kErrPolicy);
  EXPECT_EQ(answers[0].text(), "too many connections");
  EXPECT_EQ(answers[1].type, OptionReply::kAck);
}

TEST_F(HandshakeTest, ExportNameAnswersTenBytesOrThoseAndZeroes) {
  for (const bool no_zeroes : {true, false}) {
    Reset(kFixedNewstyle | (no_zeroes ? kNoZeroes : 0u));
    handshake_->Receive(OptionBytes(Option::kExportName, BytesOf("disk")));
    ASSERT_EQ(state(), Handshake::State::kAdmitting);
    EXPECT_TRUE(handshake_->output().empty());
    handshake_->Admitted();
    const Bytes reply = TakeOutput(*handshake_);
    ASSERT_EQ(reply.size(), no_zeroes ? 10u : 134u);
    const auto info = DecodeExportNameReply(ConstByteSpan(reply).first(10));
    EXPECT_EQ(info->size, 1u << 30);
    EXPECT_EQ(Bytes(reply.begin() + 10, reply.end()), Bytes(reply.size() - 10, 0));
    EXPECT_EQ(state(), Handshake::State::kDone);
    EXPECT_FALSE(handshake_->TakeResult().block_sizes);
  }
}

TEST_F(HandshakeTest, ExportNameHasNoErrorReplySoItCloses) {  // CVE-2013-7441
  for (const Bytes& name : {BytesOf("other"), Bytes{}, Bytes{'d', 0}, Bytes(4097, 'n')}) {
    Reset();
    handshake_->Receive(OptionBytes(Option::kExportName, name));
    EXPECT_TRUE(closed());
    EXPECT_TRUE(handshake_->output().empty());
  }
  Reset();
  handshake_->Receive(OptionBytes(Option::kExportName, BytesOf("disk")));
  handshake_->Refused(OptionReply::kErrPolicy, "no");
  EXPECT_TRUE(closed());
  EXPECT_TRUE(handshake_->output().empty());
}

TEST_F(HandshakeTest, AClientThatIsNotFixedMayOnlyNameItsExport) {
  Reset(0);
  AskRaw(OptionBytes(Option::kList));
  EXPECT_TRUE(closed());
  Reset(0);
  handshake_->Receive(OptionBytes(Option::kExportName, BytesOf("disk")));
  EXPECT_EQ(state(), Handshake::State::kAdmitting);
}

TEST_F(HandshakeTest, StructuredRepliesAreAcknowledgedOnceAndBringDf) {
  EXPECT_EQ(Verdict(Option::kStructuredReply, BytesOf("x")), OptionReply::kErrInvalid);
  EXPECT_EQ(Verdict(Option::kStructuredReply), OptionReply::kAck);
  EXPECT_EQ(Verdict(Option::kStructuredReply), OptionReply::kErrInvalid);
  const auto answers = Ask(Option::kGo, ExportQueryBytes("disk"));
  EXPECT_TRUE(DecodeInfoExport(answers[0].data)->flags & kSendDf);
  EXPECT_TRUE(handshake_->TakeResult().structured_replies);
}

TEST_F(HandshakeTest, MetaContextsNeedStructuredReplies) {
  const Bytes query = MetaQueryBytes("disk", {kBaseAllocation});
  EXPECT_EQ(Verdict(Option::kSetMetaContext, query), OptionReply::kErrInvalid);
  EXPECT_EQ(Verdict(Option::kListMetaContext, query), OptionReply::kErrInvalid);
}

TEST_F(HandshakeTest, MalformedOrUnknownMetaQueriesAreRefused) {
  Ask(Option::kStructuredReply);
  Bytes bad = MetaQueryBytes("disk", {kBaseAllocation});
  StoreBigEndian(bad.data() + 12, uint32_t{0x7fffffff});
  for (const Option option : {Option::kSetMetaContext, Option::kListMetaContext}) {
    EXPECT_EQ(Verdict(option, bad), OptionReply::kErrInvalid);
    EXPECT_EQ(Verdict(option, MetaQueryBytes("other", {})), OptionReply::kErrUnknown);
  }
  EXPECT_TRUE(alive());
}

TEST_F(HandshakeTest, ListMetaContextKnowsWildcardsAndAnswersWithIdZero) {
  Ask(Option::kStructuredReply);
  const auto contexts = [this](const std::vector<std::string_view>& queries) {
    return Ask(Option::kListMetaContext, MetaQueryBytes("disk", queries)).size() - 1;
  };
  EXPECT_EQ(contexts({}), 1u);
  EXPECT_EQ(contexts({"base:"}), 1u);
  EXPECT_EQ(contexts({"base:allocation", "base:", "base:allocation"}), 1u);
  EXPECT_EQ(contexts({"qemu:", "base:alloc", "base"}), 0u);
  const auto answers = Ask(Option::kListMetaContext, MetaQueryBytes("disk", {}));
  EXPECT_EQ(DecodeMetaContext(answers[0].data), (MetaContext{0, kBaseAllocation}));
}

TEST_F(HandshakeTest, SetMetaContextSelectsOnlyByFullName) {
  Ask(Option::kStructuredReply);
  EXPECT_EQ(AskOne(Option::kSetMetaContext, MetaQueryBytes("disk", {"base:", "x-y:z"})).type,
            OptionReply::kAck);
  const auto answers =
      Ask(Option::kSetMetaContext, MetaQueryBytes("disk", {"qemu:x", kBaseAllocation}));
  ASSERT_EQ(answers.size(), 2u);
  const auto context = DecodeMetaContext(answers[0].data);
  ASSERT_TRUE(context);
  EXPECT_EQ(context->name, kBaseAllocation);
  Ask(Option::kGo, ExportQueryBytes("disk"));
  EXPECT_EQ(handshake_->TakeResult().allocation_context, context->id);
}

TEST_F(HandshakeTest, ASelectionLapsesWithAFailedOneOrAnotherName) {
  exports_.default_export = exports_.all[0];
  const Bytes good = MetaQueryBytes("disk", {kBaseAllocation});
  const auto selected_after = [&](auto second, std::string_view name) {
    Reset();
    Ask(Option::kStructuredReply);
    Ask(Option::kSetMetaContext, good);
    second();
    Ask(Option::kGo, ExportQueryBytes(name));
    return handshake_->TakeResult().allocation_context.has_value();
  };
  EXPECT_TRUE(selected_after([] {}, "disk"));
  EXPECT_TRUE(selected_after([&] { Ask(Option::kListMetaContext, good); }, "disk"));
  EXPECT_FALSE(selected_after([&] { Ask(Option::kSetMetaContext, Bytes(3)); }, "disk"));
  EXPECT_FALSE(
      selected_after([&] { Ask(Option::kSetMetaContext, MetaQueryBytes("disk", {})); }, "disk"));
  EXPECT_FALSE(selected_after([] {}, "readonly"));
  EXPECT_FALSE(selected_after([] {}, ""));
}

TEST_F(HandshakeTest, TwoHundredListsAreServedAndTheCountIsBounded) {
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(alive());
  limits_.options = 3;
  Reset();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(alive());
  AskRaw(OptionBytes(Option::kList));
  EXPECT_TRUE(closed());
}

TEST_F(HandshakeTest, AClientThatDoesNotReadIsNotAnsweredWithoutEnd) {  // A1
  for (int i = 0; i < 100; ++i) exports_.Add(std::string(3000, 'n') + std::to_string(i), 512);
  Bytes lists;
  for (int i = 0; i < 100; ++i) Append(lists, OptionBytes(Option::kList));
  handshake_->Receive(lists);
  EXPECT_FALSE(handshake_->wants_receive());
  EXPECT_LT(handshake_->output().size(), 2 * 100 * 3100u);
  size_t acks = 0;
  for (const auto& answer : ParseAnswers(TakeOutput(*handshake_))) {
    acks += answer.type == OptionReply::kAck;
  }
  EXPECT_EQ(acks, 100u);
  EXPECT_TRUE(handshake_->wants_receive());
}

TEST_F(HandshakeTest, DrainRefusesEveryOptionButAbortAndCloses) {  // A4
  for (const Option option : {Option::kList, Option::kGo, Option::kInfo, Option::kStructuredReply,
                              Option::kSetMetaContext, static_cast<Option>(77)}) {
    Reset();
    handshake_->Drain();
    EXPECT_EQ(AskOne(option).type, OptionReply::kErrShutdown);
    EXPECT_TRUE(closed());
  }
  Reset();
  handshake_->Drain();
  EXPECT_EQ(AskOne(Option::kAbort).type, OptionReply::kAck);
  Reset();
  handshake_->Drain();
  EXPECT_TRUE(Ask(Option::kExportName, BytesOf("disk")).empty());
  EXPECT_TRUE(closed());
}

TEST_F(HandshakeTest, DrainDuringAdmissionRefusesIt) {
  handshake_->Receive(OptionBytes(Option::kGo, ExportQueryBytes("disk")));
  handshake_->Drain();
  EXPECT_EQ(state(), Handshake::State::kAdmitting);
  handshake_->Admitted();
  EXPECT_EQ(ParseAnswers(TakeOutput(*handshake_)).back().type, OptionReply::kErrShutdown);
  EXPECT_TRUE(closed());
}

TEST(TransmissionFlags, FollowTheExport) {
  const uint16_t always = kHasFlags | kSendFlush | kSendFua | kSendCache;
  ExportInfo info;
  info.multi_conn = false;
  EXPECT_EQ(TransmissionFlags(info, false), always);
  EXPECT_EQ(TransmissionFlags(info, true), always | kSendDf);
  info.fast_zero = true;  // means nothing without can_zero
  EXPECT_EQ(TransmissionFlags(info, false), always);
  info.can_zero = info.can_trim = info.rotational = info.multi_conn = true;
  EXPECT_EQ(TransmissionFlags(info, false),
            always | kSendWriteZeroes | kSendFastZero | kSendTrim | kRotational | kCanMultiConn);
  info.read_only = true;
  EXPECT_EQ(TransmissionFlags(info, false), always | kReadOnly | kRotational | kCanMultiConn);
}

}  // namespace
}  // namespace sluice::nbd
