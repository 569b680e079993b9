// SPDX-License-Identifier: Apache-2.0
// What a client is answered in the transmission phase.
#include "server/nbd/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "tests/server/session_client.h"

namespace sluice::nbd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint32_t kHole = kStateHole | kStateZero;

SessionSetup Full() {
  SessionSetup setup;
  setup.info.name = "disk";
  setup.info.can_trim = setup.info.can_zero = setup.info.fast_zero = true;
  return setup;
}
SessionSetup Simple() {
  SessionSetup setup = Full();
  setup.structured = setup.contexts = false;
  return setup;
}
SessionSetup Large() {
  SessionSetup setup = Full();
  setup.size = 256 << 20;
  setup.pool_bytes = 256 << 20;
  setup.credits = 4096;
  return setup;
}

// Puts the data of a READ together from its chunks, holes as zeroes.
Bytes Data(const std::vector<Answer>& answers, uint64_t offset, size_t length) {
  Bytes data(length, 0xee);
  size_t covered = 0;
  for (const Answer& answer : answers) {
    EXPECT_EQ(answer.error, Error::kNone) << answer.text;
    if (!answer.structured) return answer.data;
    const size_t at = answer.offset - offset;
    if (answer.hole_bytes > 0) std::fill_n(data.data() + at, answer.hole_bytes, 0);
    std::copy(answer.data.begin(), answer.data.end(), data.data() + at);
    covered += answer.hole_bytes + answer.data.size();
  }
  EXPECT_EQ(covered, length);
  EXPECT_TRUE(!answers.empty() && answers.back().done);
  return data;
}

Bytes Read(SessionWire& wire, uint64_t offset, uint32_t length, uint16_t flags = 0) {
  return Data(wire.Ask(RequestBytes(Command::kRead, 7, offset, length, flags)), offset, length);
}

TEST(Session, ReadsWhatWasWritten) {
  for (const SessionSetup& setup : {Full(), Simple()}) {
    SessionWire wire(setup);
    EXPECT_EQ(wire.Ask(Command::kWrite, 4096, 8192).error, Error::kNone);
    EXPECT_EQ(Read(wire, 4096, 8192), Payload(4096, 8192));
    EXPECT_EQ(wire.target->bytes[4095], 0);
    EXPECT_EQ(wire.stats.of(RequestKind::kWrite).bytes.value(), 8192u);
    EXPECT_EQ(wire.stats.of(RequestKind::kRead).bytes.value(), 8192u);
  }
}

TEST(Session, EveryCommandSucceedsAndReachesTheTargetWithItsFlags) {
  SessionWire wire(Full());
  const auto flags_of = [&](Command command, uint32_t length, uint16_t flags) {
    wire.target->flags_seen = 0;
    EXPECT_EQ(wire.Ask(command, 0, length, flags).error, Error::kNone);
    return wire.target->flags_seen;
  };
  EXPECT_EQ(flags_of(Command::kWrite, 512, kFlagFua), kFua);
  EXPECT_EQ(flags_of(Command::kTrim, 4096, kFlagFua), kFua);
  EXPECT_EQ(flags_of(Command::kWriteZeroes, 4096, kFlagFua | kFlagNoHole | kFlagFastZero),
            kFua | kNoHole | kFastZero);
  EXPECT_EQ(flags_of(Command::kCache, 4096, kFlagFua), 0);
  EXPECT_EQ(flags_of(Command::kFlush, 0, kFlagFua), 0);
  EXPECT_EQ(wire.target->submitted, 5u);
}

TEST(Session, ZeroLengthsAreOkWithoutReachingTheTarget) {
  SessionWire wire(Full());
  for (const Command command :
       {Command::kRead, Command::kWrite, Command::kTrim, Command::kCache, Command::kWriteZeroes}) {
    EXPECT_EQ(wire.Ask(command, 512, 0).error, Error::kNone);
  }
  const Answer read = wire.Ask(Command::kRead, 0, 0);
  EXPECT_TRUE(read.structured && read.done && read.type == ChunkType::kNone);
  SessionWire simple(Simple());
  EXPECT_EQ(simple.Ask(Command::kRead, 0, 0).error, Error::kNone);
  EXPECT_EQ(wire.target->submitted + simple.target->submitted, 0u);
}

TEST(Session, ARefusalHasTheRightCodeAndTheSessionLives) {
  SessionWire wire(Full());
  const auto refused = [&](Command command, uint64_t offset, uint32_t length, uint16_t flags = 0) {
    const Answer answer = wire.Ask(command, offset, length, flags);
    EXPECT_TRUE(answer.structured && answer.done);
    EXPECT_EQ(answer.type, ChunkType::kError);
    EXPECT_FALSE(answer.text.empty());
    EXPECT_TRUE(wire.alive());
    return answer.error;
  };
  const uint64_t size = wire.target->limits().size;
  EXPECT_EQ(refused(Command::kRead, size, 512), Error::kInval);
  EXPECT_EQ(refused(Command::kWrite, size, 512), Error::kNoSpc);
  EXPECT_EQ(refused(Command::kWriteZeroes, size - 512, 1024), Error::kNoSpc);
  EXPECT_EQ(refused(Command::kTrim, size, 512), Error::kInval);
  EXPECT_EQ(refused(Command::kRead, ~uint64_t{511}, 1024), Error::kInval);
  EXPECT_EQ(refused(static_cast<Command>(99), 0, 0), Error::kInval);
  EXPECT_EQ(refused(static_cast<Command>(99), 0, 4096), Error::kInval);
  EXPECT_EQ(refused(Command::kRead, 0, 512, 0x8000), Error::kInval);
  EXPECT_EQ(refused(Command::kBlockStatus, 0, 0), Error::kInval);
  EXPECT_EQ(refused(Command::kFlush, 512, 512), Error::kInval);
  EXPECT_EQ(refused(Command::kRead, 0, (64u << 20) + 512), Error::kOverflow);
  EXPECT_EQ(wire.target->submitted, 11u) << "only the reads that show it is alive";
  EXPECT_EQ(wire.stats.errors.total(), 11u);
}

TEST(Session, WhoAskedForTheBlockSizesMustObeyThemAndWhoDidNotIsServed) {
  SessionSetup setup;
  setup.info.min_block_bytes = 4096;
  EXPECT_EQ(SessionWire(setup).Ask(Command::kRead, 512, 512).error, Error::kNone);
  setup.block_sizes = true;
  EXPECT_EQ(SessionWire(setup).Ask(Command::kRead, 512, 512).error, Error::kInval);
  EXPECT_EQ(SessionWire(setup).Ask(Command::kRead, 4096, 4096).error, Error::kNone);
}

TEST(Session, WithoutStructuredRepliesErrorsAreSimpleAndDfIsRefused) {
  SessionWire wire(Simple());
  const Answer df = wire.Ask(Command::kRead, 0, 512, kFlagDf);
  EXPECT_FALSE(df.structured);
  EXPECT_EQ(df.error, Error::kInval);
  EXPECT_EQ(wire.Ask(Command::kBlockStatus, 0, 512).error, Error::kInval);
  EXPECT_TRUE(wire.alive());
}

TEST(Session, TheReadOnlyExportForbidsWritingAndSwallowsThePayload) {
  SessionSetup setup = Full();
  setup.info.read_only = true;
  SessionWire wire(setup);
  EXPECT_EQ(wire.Ask(Command::kWrite, 0, 65536).error, Error::kPerm);
  EXPECT_EQ(wire.Ask(Command::kTrim, 0, 512).error, Error::kPerm);
  EXPECT_EQ(wire.Ask(Command::kWriteZeroes, 0, 512).error, Error::kPerm);
  EXPECT_TRUE(wire.alive());
}

TEST(Session, WritesUpToSixtyFourMebibytesAreServed) {
  SessionWire wire(Large());
  for (const uint32_t length : {(32u << 20) + 512, 64u << 20}) {
    EXPECT_EQ(wire.Ask(Command::kWrite, 512, length).error, Error::kNone);
    EXPECT_EQ(Read(wire, 512, length), Payload(512, length));
  }
}

TEST(Session, AWriteHeaderOverTheLimitEndsIt) {
  for (const uint32_t length : {(64u << 20) + 1, 0x7fffffffu, 0xffffffffu}) {
    SessionWire wire(Full());
    EXPECT_TRUE(wire.Ask(RequestBytes(Command::kWrite, 1, 0, length)).empty());
    EXPECT_TRUE(wire.session->finished());
    EXPECT_FALSE(wire.session->wants_receive());
    EXPECT_THAT(wire.session->end_reason(), HasSubstr(std::to_string(length)));
  }
}

TEST(Session, BadMagicEndsItAfterWhatCameBefore) {
  SessionWire wire(Full());
  Bytes bytes = RequestBytes(Command::kRead, 1, 0, 512);
  Bytes bad = RequestBytes(Command::kRead, 2, 0, 512);
  bad[0] ^= 1;
  bytes.insert(bytes.end(), bad.begin(), bad.end());
  const auto answers = wire.Ask(bytes);
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].cookie, 1u);
  EXPECT_TRUE(wire.session->finished());
}

TEST(Session, ReadThenDiscInOneSegmentIsAnsweredThenFinished) {
  SessionWire wire(Full());
  wire.target->hold = true;
  Bytes bytes = RequestBytes(Command::kRead, 1, 0, 512);
  for (const Command command : {Command::kDisc, Command::kRead}) {
    const Bytes more = RequestBytes(command, 2, 0, 512);
    bytes.insert(bytes.end(), more.begin(), more.end());
  }
  EXPECT_TRUE(wire.Ask(bytes).empty());
  EXPECT_FALSE(wire.session->finished());
  wire.On([&] { wire.target->FinishAll(); });
  EXPECT_EQ(wire.Ask({}).size(), 1u);
  EXPECT_TRUE(wire.session->finished());
  EXPECT_EQ(wire.target->submitted, 1u) << "nothing behind DISC is parsed";
}

TEST(Session, RepliesLeaveInOrderOfCompletionWithTheirCookies) {
  SessionWire wire(Full());
  wire.target->hold = true;
  for (uint64_t cookie : {~uint64_t{0}, uint64_t{0}, uint64_t{5}}) {
    wire.Put(RequestBytes(Command::kRead, cookie, 0, 512));
  }
  wire.Pump();
  ASSERT_EQ(wire.target->held.size(), 3u) << "all requests of one receive are submitted together";
  wire.On([&] {
    wire.target->Finish(2);
    wire.target->Finish(0);
    wire.target->Finish(0);
  });
  const auto answers = wire.Ask({});
  ASSERT_EQ(answers.size(), 3u);
  EXPECT_EQ(answers[0].cookie, 5u);
  EXPECT_EQ(answers[1].cookie, ~uint64_t{0});
  EXPECT_EQ(answers[2].cookie, 0u);
}

TEST(Session, AReadErrorIsAChunkWithTextAndOffset) {
  SessionWire wire(Full());
  wire.target->bad_offset = 8192 + 600;
  const Answer answer = wire.Ask(Command::kRead, 8192, 4096);
  EXPECT_EQ(answer.type, ChunkType::kErrorOffset);
  EXPECT_EQ(answer.error, Error::kIo);
  EXPECT_EQ(answer.offset, 8192u);  // no byte of a part that failed is known to be good
  EXPECT_EQ(answer.text, "READ failed: Input/output error");
  EXPECT_TRUE(wire.alive());
  SessionWire simple(Simple());
  simple.target->bad_offset = 0;
  EXPECT_EQ(simple.Ask(Command::kRead, 0, 512).error, Error::kIo);
}

TEST(Session, AShortReadIsAnErrorAndLeaksNoMemory) {  // S5, R8
  SessionWire wire(Full());
  wire.target->hold = true;
  wire.Put(RequestBytes(Command::kRead, 1, 0, 4096));
  wire.Pump();
  wire.On([&] { wire.target->Finish(0, 0, 512); });
  const auto answers = wire.Ask({});
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].error, Error::kIo);
  EXPECT_EQ(answers[0].offset, 4096 - 512u);
  EXPECT_TRUE(answers[0].data.empty());
}

TEST(Session, EnotsupIsAnAnswerToFastZeroAlone) {  // R20
  SessionWire wire(Full());
  wire.target->hold = true;
  wire.Put(RequestBytes(Command::kWriteZeroes, 1, 0, 512, kFlagFastZero));
  wire.Put(RequestBytes(Command::kWriteZeroes, 2, 0, 512));
  wire.Pump();
  wire.On([&] {
    wire.target->Finish(0, EOPNOTSUPP);
    wire.target->Finish(0, EOPNOTSUPP);
  });
  const auto answers = wire.Ask({});
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_EQ(answers[0].error, Error::kNotSup);
  EXPECT_EQ(answers[1].error, Error::kInval);
}

TEST(Session, ALongRequestIsAnsweredOnceWhenAllPartsAreHomeAndTheFirstErrorWins) {  // R19
  SessionWire wire(Large());
  wire.target->hold = true;
  wire.Put(WriteBytes(1, 0, 3 << 20));
  wire.Pump();
  ASSERT_EQ(wire.target->held.size(), 3u);
  wire.On([&] {
    wire.target->Finish(2, ENOSPC);
    wire.target->Finish(0, EIO);
  });
  EXPECT_TRUE(wire.Ask({}).empty());
  wire.On([&] { wire.target->Finish(0); });
  const auto answers = wire.Ask({});
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].error, Error::kNoSpc);
}

TEST(Session, LongEffectsAreCutToAGibibyte) {
  SessionSetup setup = Full();
  SessionWire wire(setup);
  wire.target->hold = true;
  wire.target->mutable_limits().size = uint64_t{8} << 30;  // nothing is touched
  setup.size = uint64_t{8} << 30;
  auto info = std::make_shared<ExportInfo>(setup.info);
  info->size_bytes = setup.size;
  Negotiated negotiated;
  negotiated.exported = info;
  ClientStats stats;
  wire.session = std::make_unique<Session>(wire.reactor(), *wire.target, std::move(negotiated),
                                           Session::Options(), wire, stats);
  wire.Put(RequestBytes(Command::kCache, 1, 512, 0xfffffe00));
  wire.Pump();
  ASSERT_EQ(wire.target->held.size(), 4u);
  EXPECT_EQ(wire.target->held[3]->length, 0xfffffe00u - (3u << 30));
  EXPECT_EQ(wire.target->held[3]->offset, (uint64_t{3} << 30) + 512);
}

TEST(Session, ZeroRunsOfAReadAreHoles) {
  SessionWire wire(Full());
  wire.Ask(Command::kWrite, 4096, 512);
  wire.Ask(Command::kWrite, 65536, 4096);
  const auto answers = wire.Ask(RequestBytes(Command::kRead, 3, 0, 131072));
  ASSERT_EQ(answers.size(), 5u);
  const bool hole[] = {true, false, true, false, true};
  const uint64_t offset[] = {0, 4096, 8192, 65536, 69632};
  for (size_t i = 0; i < answers.size(); ++i) {
    EXPECT_EQ(answers[i].type, hole[i] ? ChunkType::kOffsetHole : ChunkType::kOffsetData);
    EXPECT_EQ(answers[i].offset, offset[i]);
    EXPECT_EQ(answers[i].done, i == 4);
  }
  EXPECT_EQ(Data(answers, 0, 131072),
            Bytes(wire.target->bytes.begin(), wire.target->bytes.begin() + 131072));
}

TEST(Session, ReadsHaveNoHolesWithDfOrBelowAGranule) {
  SessionWire wire(Full());
  for (const auto& request : {RequestBytes(Command::kRead, 1, 0, 131072, kFlagDf),
                              RequestBytes(Command::kRead, 1, 0, 3584)}) {
    const auto answers = wire.Ask(request);
    ASSERT_EQ(answers.size(), 1u);
    EXPECT_EQ(answers[0].type, ChunkType::kOffsetData);
    EXPECT_TRUE(answers[0].done);
  }
}

TEST(Session, HolesLieOnGranulesOfTheExport) {
  SessionWire wire(Full());
  const auto answers = wire.Ask(RequestBytes(Command::kRead, 1, 512, 8192));
  ASSERT_EQ(answers.size(), 3u);
  EXPECT_EQ(answers[1].type, ChunkType::kOffsetHole);
  EXPECT_EQ(answers[1].offset, 4096u);
  EXPECT_EQ(Data(answers, 512, 8192), Bytes(8192, 0));
}

TEST(Session, AReadOfManyHolesHasABoundedCountOfChunks) {
  SessionWire wire(Large());
  for (uint64_t i = 0; i < 200; ++i) wire.Ask(Command::kWrite, i * 8192, 4096);
  const auto answers = wire.Ask(RequestBytes(Command::kRead, 1, 0, 200 * 8192));
  EXPECT_EQ(answers.size(), 128u);
  EXPECT_EQ(Data(answers, 0, 200 * 8192),
            Bytes(wire.target->bytes.begin(), wire.target->bytes.begin() + 200 * 8192));
}

TEST(Session, LentPagesAreSentAsTheyLieAndGivenBackAfterTheSend) {
  SessionWire wire(Full());
  wire.target->mutable_limits().lend_bytes_max = 65536;
  wire.Ask(Command::kWrite, 0, 262144);
  wire.reads = false;
  wire.Put(RequestBytes(Command::kRead, 1, 0, 262144));
  wire.Pump();
  EXPECT_EQ(wire.target->loans_out, 4);
  EXPECT_EQ(wire.reactor().buffers().free_bytes(), wire.reactor().buffers().bytes());
  Segment segments[8];
  wire.On([&] {
    ASSERT_GE(wire.session->Output(segments, 8), 2u);
    EXPECT_EQ(segments[1].iov_base, wire.target->bytes.data());
  });
  wire.reads = true;
  wire.Pump();
  EXPECT_EQ(wire.target->loans_out, 0);
  EXPECT_EQ(Data(wire.TakeAnswers(), 0, 262144), Payload(0, 262144));
}

TEST(Session, NothingIsBorrowedFromATargetOfAnotherReactor) {
  SessionSetup setup = Full();
  setup.crossing = true;
  SessionWire wire(setup);
  wire.target->mutable_limits().lend_bytes_max = 16384;
  wire.Ask(Command::kWrite, 0, 65536);
  EXPECT_EQ(Read(wire, 512, 40448), Payload(512, 40448));
  EXPECT_EQ(wire.target->flags_seen & kBorrow, 0);
}

TEST(Session, ALongPayloadIsReceivedWhereItIsWrittenFrom) {
  SessionWire wire(Full());
  wire.target->hold = true;
  const Bytes write = WriteBytes(1, 0, 262144);
  wire.Put(Bytes(write.begin(), write.begin() + kRequestBytes + 100));
  wire.Pump();
  Segment segments[8];
  wire.On([&] {
    const size_t count = wire.session->ReceiveInto(segments, 8);
    EXPECT_EQ(count, 2u);
    EXPECT_EQ(segments[0].iov_len, 262144 - 100u);
    wire.session->Fed(0);
  });
  wire.Put(Bytes(write.begin() + kRequestBytes + 100, write.end()));
  wire.Pump();
  ASSERT_EQ(wire.target->held.size(), 1u);
  EXPECT_EQ(static_cast<char*>(wire.target->held[0]->segs[0].iov_base) + 100, segments[0].iov_base);
  wire.On([&] { wire.target->FinishAll(); });
  EXPECT_EQ(Bytes(wire.target->bytes.begin(), wire.target->bytes.begin() + 262144),
            Payload(0, 262144));
}

// Room that the session offers for what comes next.
size_t RoomOf(SessionWire& wire) {
  size_t room = 0;
  wire.On([&] {
    Segment segments[8];
    const size_t count = wire.session->ReceiveInto(segments, 8);
    for (size_t i = 0; i < count; ++i) room += segments[i].iov_len;
    wire.session->Fed(0);
  });
  return room;
}

TEST(Session, BehindALongPayloadAnotherIsExpectedAndStagingTakesItsBeginningOnly) {
  SessionWire wire(Full());
  EXPECT_EQ(RoomOf(wire), Session::kStagingBytes);
  wire.Ask(Command::kWrite, 0, 262144);
  EXPECT_EQ(RoomOf(wire), Session::kShortStagingBytes);
  wire.Ask(Command::kRead, 0, 512);
  EXPECT_EQ(RoomOf(wire), Session::kShortStagingBytes) << "reads between do not matter";
  wire.Ask(Command::kWrite, 262144, 262144);
  wire.Ask(Command::kWrite, 0, 512);
  EXPECT_EQ(RoomOf(wire), Session::kStagingBytes);
  EXPECT_EQ(Bytes(wire.target->bytes.begin() + 262144, wire.target->bytes.begin() + 524288),
            Payload(262144, 262144));
}

TEST(Session, TheEndOfALongPayloadIsReceivedInOneGoHoweverShortItIs) {
  SessionWire wire(Full());
  const Bytes write = WriteBytes(1, 0, 262144);
  const size_t end = 20000;  // less than Session::kDirectBytes
  wire.Put(Bytes(write.begin(), write.end() - end));
  wire.Pump();
  EXPECT_EQ(RoomOf(wire), end + Session::kShortStagingBytes);
  EXPECT_EQ(wire.AskOne(Bytes(write.end() - end, write.end())).error, Error::kNone);
  EXPECT_EQ(Bytes(wire.target->bytes.begin(), wire.target->bytes.begin() + 262144),
            Payload(0, 262144));
}

TEST(Session, WhatTheTargetSwallowsTakesNoMemory) {
  SessionWire wire(Full());
  wire.target->mutable_limits().swallows = true;
  wire.target->hold = true;
  Bytes writes = WriteBytes(1, 0, 4096);
  for (const Bytes& more : {WriteBytes(2, 4096, 262144), WriteBytes(3, uint64_t{1} << 40, 512)}) {
    writes.insert(writes.end(), more.begin(), more.end());
  }
  wire.Put(writes);
  wire.Pump();
  ASSERT_EQ(wire.target->held.size(), 2u) << "the third is refused";
  EXPECT_EQ(wire.target->held[1]->length, 262144u);
  EXPECT_EQ(wire.target->held[1]->segs, nullptr);
  EXPECT_EQ(wire.reactor().buffers().free_bytes(), wire.reactor().buffers().bytes());
  wire.On([&] { wire.target->FinishAll(); });
  wire.Pump();
  std::map<uint64_t, Error> errors;
  for (const Answer& answer : wire.TakeAnswers()) errors[answer.cookie] = answer.error;
  EXPECT_EQ(errors,
            (std::map<uint64_t, Error>{{1, Error::kNone}, {2, Error::kNone}, {3, Error::kNoSpc}}));
}

TEST(Session, BlockStatusReportsTheTargetsExtents) {
  SessionWire wire(Full());
  wire.target->extents = {{8192, false, false}, {4096, true, true}, {1 << 20, false, true}};
  const Answer all = wire.Ask(Command::kBlockStatus, 0, 65536);
  EXPECT_TRUE(all.done);
  EXPECT_THAT(all.status, ElementsAre(StatusExtent{8192, 0}, StatusExtent{4096, kHole},
                                      StatusExtent{65536 - 12288, kStateZero}));
  const Answer one = wire.Ask(Command::kBlockStatus, 0, 65536, kFlagReqOne);
  EXPECT_THAT(one.status, ElementsAre(StatusExtent{8192, 0}));
  EXPECT_THAT(wire.Ask(Command::kBlockStatus, 0, 512, kFlagReqOne).status,
              ElementsAre(StatusExtent{512, 0}));
}

TEST(Session, AFailedOrEmptyBlockStatusIsAnErrorOrData) {
  SessionWire wire(Full());
  EXPECT_THAT(wire.Ask(Command::kBlockStatus, 0, 4096).status, ElementsAre(StatusExtent{4096, 0}));
  wire.target->query_error = EIO;
  const Answer answer = wire.Ask(Command::kBlockStatus, 0, 512);
  EXPECT_EQ(answer.type, ChunkType::kError);
  EXPECT_EQ(answer.error, Error::kIo);
  EXPECT_EQ(answer.text, "BLOCK_STATUS failed: Input/output error");
}

TEST(Session, BlockStatusWithoutContextsIsEinval) {
  SessionSetup setup = Full();
  setup.contexts = false;
  SessionWire wire(setup);
  EXPECT_EQ(wire.Ask(Command::kBlockStatus, 0, 512).error, Error::kInval);
}

TEST(Session, WhatTheHandshakeLeftIsServedFirst) {
  SessionSetup setup = Full();
  setup.unparsed = RequestBytes(Command::kRead, 42, 0, 512);
  SessionWire wire(setup);
  wire.On([&] { wire.session->Fed(0); });
  const auto answers = wire.Ask({});
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].cookie, 42u);
}

}  // namespace
}  // namespace sluice::nbd
