// SPDX-License-Identifier: Apache-2.0
// Tries to revert a block: an old write that was sent before a newer, acknowledged one arrives or
// wakes up after it. Nothing may bring the old one back.
//
// Built twice: as it is, and with the fences cut out of the server (cut_fence.py). There each of
// these attempts must succeed, or it would prove nothing.
#include <gtest/gtest.h>

#include "tests/server/replay/world.h"

namespace sluice::replay {
namespace {

using rpc::Mode;
using rpc::Reason;

#ifdef SLUICE_WITHOUT_FENCE
constexpr bool kFenced = false;
#else
constexpr bool kFenced = true;
#endif

constexpr char kOld = 'o';
constexpr char kNew = 'n';
constexpr uint64_t kX = 7;  // the block that it is about

class Replay : public testing::Test {
 protected:
  ~Replay() override {
    world_.Resume();
    EXPECT_EQ(world_.Block(kX), kFenced ? kNew : kOld) << "the block's newest write is 'n'";
  }

  rpc::OpRequest Old(uint64_t op_id) { return world_.Write(op_id, kX, kOld); }
  rpc::OpRequest New(uint64_t op_id) { return world_.Write(op_id, kX, kNew); }
  rpc::OpRequest Other(uint64_t op_id) { return world_.Write(op_id, 100 + op_id % 100, 'x'); }

  // A session whose old write waits, above a disk that hangs, behind two others.
  World::Opened OpenWithOldWaiting(const World::How& how = World::How()) {
    const auto session = world_.Open("a", how);
    line_ = &world_.Attach(session, 1);
    world_.Hang();
    world_.Send(*line_, {Other(1), Other(2), Old(3)});
    return session;
  }
  // The same of an NBD connection, whose client goes away.
  void LeaveGhost() {
    nbd::WireClient ghost = world_.Connect();
    ghost.Hello().Go("disk");
    world_.Run();
    world_.Hang();
    ghost.Write('x', 100 * kBlock, kBlock).Write('x', 101 * kBlock, kBlock);
    ghost.Write(kOld, kX * kBlock, kBlock);
    world_.Run();
    ghost.wire().Close();
  }
  // A client's new write, sent with its handshake, so that it is served as soon as the client is
  // let in.
  void WriteNewByNbd() {
    nbd::WireClient client = world_.Connect();
    client.Hello().Go("disk").Write(kNew, kX * kBlock, kBlock).Disconnect();
    world_.Run();
    if (world_.Block(kX) != kNew) return;  // the disk hangs
    client.wire().Close();
    world_.Run();
  }
  void WriteNewBy(const std::string& client, const World::How& how) {
    const auto session = world_.Open(client, how);
    if (!session->has_value()) {  // it is let in when the disk has ended the old, and it looks
      world_.Resume();
      world_.Advance(kMillisecond);
    }
    ASSERT_EQ((*session)->refused, Reason::kNone) << (*session)->text;
    world_.Send(world_.Attach(session, 1), {New(1)});
    world_.Resume();
    world_.Close(session);
  }

  // What the client of the old write is told, where there is a fence.
  static void ExpectTold(Reason told, Reason wanted) {
    if (kFenced) {
      EXPECT_EQ(told, wanted);
    }
  }

  World world_;
  Line* line_ = nullptr;  // on which the old write was sent
};

// --- within a session ---

TEST_F(Replay, ATwinOfAnAnsweredWriteComesLate) {
  const auto session = world_.Open("a");
  EXPECT_EQ(world_.Call(session, Old(1)), Reason::kNone);
  EXPECT_EQ(world_.Call(session, New(2)), Reason::kNone);
  EXPECT_EQ(world_.Call(session, Old(1)), Reason::kNone);  // what it was told the first time
}

TEST_F(Replay, AKnownIdComesWithOtherData) {
  const auto session = world_.Open("a");
  world_.Call(session, New(1));
  world_.Call(session, Old(1));
}

TEST_F(Replay, AKnownIdComesForAnotherRange) {
  const auto session = world_.Open("a");
  world_.Call(session, Other(1));
  world_.Call(session, New(2));
  const Reason told = world_.Call(session, Old(1));
  ExpectTold(told, Reason::kBadRequest);
}

TEST_F(Replay, ATwinComesAfterItsResultWasForgotten) {
  const auto session = world_.Open("a");
  Line& line = world_.Attach(session, 1);
  world_.Send(line, {Old(1), New(2)});
  world_.Acknowledge(line, 2);
  world_.Send(line, {Old(1)});
  ExpectTold(line.results[1], Reason::kOutOfWindow);
}

TEST_F(Replay, ATwinComesFarBelowTheWindow) {
  const auto session = world_.Open("a");
  Line& line = world_.Attach(session, 1);
  world_.Send(line, {Old(1), New(2)});
  world_.Send(line, {Other(1000)});
  world_.Send(line, {Old(1)});
  ExpectTold(line.results[1], Reason::kOutOfWindow);
}

TEST_F(Replay, AnEarlierOpComesOnAnotherStreamAfterALaterOne) {
  const auto session = world_.Open("a");
  Line& first = world_.Attach(session, 1);
  Line& second = world_.Attach(session, 1);
  world_.Send(second, {New(2)});
  world_.Send(first, {Old(1)});
  ExpectTold(first.results[1], Reason::kOvertaken);
}

TEST_F(Replay, ATwinOfACancelledWriteComesLate) {
  OpenWithOldWaiting();
  world_.Cancel(*line_, 3);
  EXPECT_EQ(line_->results[3], Reason::kCancelled);
  world_.Resume();
  world_.Send(*line_, {New(4)});
  world_.Send(*line_, {Old(3)});
}

TEST_F(Replay, ATwinOfAWriteWhoseTimeWasUpComesLate) {
  const auto session = world_.Open("a");
  Line& line = world_.Attach(session, 1);
  world_.Hang();
  rpc::OpRequest timed = Old(1);
  timed.timeout_ms = 100;
  world_.Send(line, {timed});
  world_.Advance(kSecond);
  world_.Advance(kSecond);
  EXPECT_EQ(line.results[1], Reason::kDiskTimeout);
  world_.Resume();
  world_.Send(line, {New(2)});
  world_.Send(line, {Old(1)});
}

// --- dropped streams ---

TEST_F(Replay, ADroppedStreamsMessageComesAfterTheNextAttach) {
  const auto session = world_.Open("a");
  Line& old = world_.Attach(session, 1);
  Line& fresh = world_.Attach(session, 2);
  world_.Send(fresh, {Old(1), New(2)});
  world_.Send(old, {Old(1)});
  ExpectTold(old.closed, Reason::kStaleAttach);
}

TEST_F(Replay, ADroppedStreamsWriteThatWasNotSentAgainComesAfterTheNextAttach) {
  const auto session = world_.Open("a");
  Line& old = world_.Attach(session, 1);
  Line& fresh = world_.Attach(session, 2);
  world_.Send(fresh, {New(2)});
  world_.Send(old, {Old(1)});
}

TEST_F(Replay, ADroppedStreamsWriteWaitsForADiskThatHangs) {
  const auto session = OpenWithOldWaiting();
  Line& fresh = world_.Attach(session, 2);
  world_.Send(fresh, {New(4)});
  world_.Resume();
  if (kFenced) {
    EXPECT_EQ(line_->closed, Reason::kStaleAttach);
  } else {
    world_.Send(*line_, {Old(3)});
  }
}

TEST_F(Replay, AnOlderAttachComesBack) {
  const auto session = world_.Open("a");
  world_.Attach(session, 1);
  Line& fresh = world_.Attach(session, 3);
  world_.Send(fresh, {Old(1), New(2)});
  Line& older = world_.Attach(session, 2);
  ExpectTold(older.closed, Reason::kStaleAttach);
  world_.Send(older, {Old(1)});
}

// --- takeovers ---

TEST_F(Replay, AFencedSessionsWriteWaitsForADiskThatHangs) {
  OpenWithOldWaiting();
  WriteNewBy("b", {.force = true});
}

TEST_F(Replay, ALostSessionsWriteWaitsForADiskThatHangs) {
  OpenWithOldWaiting();
  world_.Advance(kLeaseNs + kSecond);
  WriteNewBy("b", {});
}

TEST_F(Replay, TheWriteOfAnEarlierSelfWaitsForADiskThatHangs) {
  OpenWithOldWaiting();
  WriteNewBy("a", {});
}

TEST_F(Replay, AFencedKinsWriteWaitsForADiskThatHangs) {
  OpenWithOldWaiting({.at = "slice"});
  WriteNewBy("b", {.force = true});
}

TEST_F(Replay, ACallOfAFencedSessionComesLate) {
  const auto fenced = world_.Open("a");
  WriteNewBy("b", {.force = true});
  const Reason told = world_.Call(fenced, Old(1));
  ExpectTold(told, Reason::kStaleEpoch);
}

TEST_F(Replay, ACallOfALostSessionComesLate) {
  const auto lost = world_.Open("a");
  world_.Advance(kLeaseNs + kSecond);
  WriteNewBy("b", {});
  const Reason told = world_.Call(lost, Old(1));
  ExpectTold(told, Reason::kSessionLost);
}

TEST_F(Replay, AFencedSessionIsAttachedAgain) {
  const auto fenced = world_.Open("a");
  WriteNewBy("b", {.force = true});
  Line& line = world_.Attach(fenced, 1);
  ExpectTold(line.closed, Reason::kStaleEpoch);
  world_.Send(line, {Old(1)});
}

// --- restarts: the old write was never answered, and is sent again with the epoch that was held
// ---

class ReplayAfterRestart : public Replay {
 protected:
  // Opens, sends the old write to a disk that hangs, and dies with the server.
  uint64_t SendOldAndRestart() {
    const auto session = world_.Open("a");
    world_.Hang();
    world_.Send(world_.Attach(session, 1), {Old(1)});
    const uint64_t epoch = (*session)->epoch;
    world_.Restart();
    return epoch;
  }
  void SendAgain(uint64_t epoch) {
    const auto again = world_.Open("a", {.epoch = epoch});
    ASSERT_TRUE(again->has_value());
    if (kFenced) {
      EXPECT_EQ((*again)->refused, Reason::kStaleEpoch);
    } else {
      world_.Call(again, Old(1));
    }
  }
};

TEST_F(ReplayAfterRestart, AnotherSessionWroteFirst) {
  const uint64_t epoch = SendOldAndRestart();
  WriteNewBy("b", {});
  SendAgain(epoch);
}

TEST_F(ReplayAfterRestart, ASharedSessionWroteFirst) {
  const uint64_t epoch = SendOldAndRestart();
  WriteNewBy("b", {.mode = Mode::kReadWriteShared});
  SendAgain(epoch);
}

TEST_F(ReplayAfterRestart, ASessionOfAKinWroteFirst) {
  const uint64_t epoch = SendOldAndRestart();
  WriteNewBy("b", {.at = "slice"});
  SendAgain(epoch);
}

TEST_F(ReplayAfterRestart, AnNbdConnectionWroteFirst) {
  const uint64_t epoch = SendOldAndRestart();
  WriteNewByNbd();
  SendAgain(epoch);
}

TEST_F(ReplayAfterRestart, AnNbdConnectionWroteBeforeASecondRestart) {
  const uint64_t epoch = SendOldAndRestart();
  WriteNewByNbd();
  world_.Restart();
  SendAgain(epoch);
}

TEST_F(ReplayAfterRestart, TheLeaseEndedAndAnNbdConnectionWroteFirst) {
  const auto session = world_.Open("a");
  world_.Advance(kLeaseNs + kSecond);
  WriteNewByNbd();
  SendAgain((*session)->epoch);
}

// --- NBD ---

TEST_F(Replay, AnNbdGhostsWriteWaitsWhenItsSuccessorComes) {  // promise 6
  LeaveGhost();
  WriteNewByNbd();
  world_.Resume();
}

TEST_F(Replay, AnNbdGhostsWriteWaitsWhenASessionComes) {
  LeaveGhost();
  WriteNewBy("a", {.mode = Mode::kReadWriteShared});
}

TEST_F(Replay, AnNbdGhostsWriteWaitsWhenASessionOfAKinComes) {
  LeaveGhost();
  WriteNewBy("a", {.mode = Mode::kReadWriteShared, .at = "slice"});
}

TEST_F(Replay, ALivingNbdConnectionsWriteWaitsWhenASessionTakesOver) {
  nbd::WireClient client = world_.Connect();
  client.Hello().Go("disk");
  world_.Run();
  world_.Hang();
  client.Write('x', 100 * kBlock, kBlock).Write('x', 101 * kBlock, kBlock);
  client.Write(kOld, kX * kBlock, kBlock);
  world_.Run();
  WriteNewBy("a", {.force = true});
}

TEST_F(Replay, ALostSessionsWriteWaitsWhenAnNbdConnectionComes) {
  OpenWithOldWaiting({.mode = Mode::kReadWriteShared});
  world_.Advance(kLeaseNs + kSecond);
  WriteNewByNbd();
  world_.Resume();
}

}  // namespace
}  // namespace sluice::replay
