// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/window.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::rpc {
namespace {

using testing::ElementsAre;
using testing::Field;
using Verdict = OpWindow::Verdict;

OpRequest Write(uint64_t op_id, uint64_t offset = 0, uint64_t length = 512) {
  OpRequest op;
  op.op_id = op_id;
  op.op = Op::kWrite;
  op.offset = offset;
  op.length = length;
  return op;
}

OpRequest Read(uint64_t op_id, uint64_t offset = 0, uint64_t length = 512) {
  OpRequest op = Write(op_id, offset, length);
  op.op = Op::kRead;
  return op;
}

OpResult Failed(uint64_t op_id, int error = EIO) {
  OpResult result;
  result.op_id = op_id;
  result.error = error;
  result.reason = ReasonOf(error);
  return result;
}

// Runs the op to its end.
void RunOp(OpWindow& window, const OpRequest& op, int error = 0) {
  ASSERT_EQ(window.Begin(op), Verdict::kNew) << op.op_id;
  window.End(Failed(op.op_id, error));
}

TEST(OpWindow, AnIdRunsAtMostOnce) {
  OpWindow window(8);
  EXPECT_EQ(window.Begin(Write(1)), Verdict::kNew);
  EXPECT_EQ(window.Begin(Write(1)), Verdict::kRunning);
  window.End(Failed(1, ENOSPC));
  EXPECT_EQ(window.Begin(Write(1)), Verdict::kEnded);
  EXPECT_EQ(window.result(1).error, ENOSPC);
  EXPECT_EQ(window.result(1).reason, Reason::kNoSpace);
}

TEST(OpWindow, AnIdThatWasAnotherOpIsRefused) {
  OpWindow window(8);
  RunOp(window, Write(1, 0, 512));
  EXPECT_EQ(window.Begin(Write(1, 512, 512)), Verdict::kOther);
  EXPECT_EQ(window.Begin(Write(1, 0, 1024)), Verdict::kOther);
  EXPECT_EQ(window.Begin(Read(1, 0, 512)), Verdict::kOther);
}

TEST(OpWindow, AnAcknowledgedIdIsForgotten) {
  OpWindow window(8);
  RunOp(window, Write(1));
  RunOp(window, Write(2, 512));
  window.Acknowledge(1);
  EXPECT_EQ(window.Begin(Write(1)), Verdict::kForgotten);
  EXPECT_EQ(window.Begin(Write(2, 512)), Verdict::kEnded);
}

TEST(OpWindow, WhatRunsIsNeverAcknowledgedAway) {
  OpWindow window(8);
  EXPECT_EQ(window.Begin(Write(1)), Verdict::kNew);
  RunOp(window, Write(2, 512));
  window.Acknowledge(2);
  EXPECT_EQ(window.floor(), 0u);
  EXPECT_EQ(window.Begin(Write(1)), Verdict::kRunning);
  window.Acknowledge(~uint64_t{0});  // an acknowledgement of what never was sent
  window.End(Failed(1, 0));
  window.Acknowledge(~uint64_t{0});
  EXPECT_EQ(window.floor(), 2u);
}

TEST(OpWindow, ItSlidesOverWhatHasEnded) {
  OpWindow window(4);
  for (uint64_t id = 1; id <= 100; ++id) RunOp(window, Write(id, 512 * id));
  EXPECT_EQ(window.floor(), 96u);
  EXPECT_EQ(window.Begin(Write(96)), Verdict::kForgotten);
  EXPECT_EQ(window.Begin(Write(97, 512 * 97)), Verdict::kEnded);
}

TEST(OpWindow, ItDoesNotSlideOverWhatRuns) {
  OpWindow window(4);
  EXPECT_EQ(window.Begin(Write(1)), Verdict::kNew);
  for (uint64_t id = 2; id <= 4; ++id) RunOp(window, Write(id, 512 * id));
  EXPECT_EQ(window.Begin(Write(5, 512 * 5)), Verdict::kFull);
  window.End(Failed(1, 0));
  EXPECT_EQ(window.Begin(Write(5, 512 * 5)), Verdict::kNew);
}

TEST(OpWindow, AHugeIdOnlyForgets) {
  OpWindow window(4);
  RunOp(window, Write(1));
  RunOp(window, Write(kOpIdMax, 512));
  EXPECT_EQ(window.Begin(Write(1)), Verdict::kForgotten);
  EXPECT_EQ(window.Begin(Write(kOpIdMax, 512)), Verdict::kEnded);
  EXPECT_EQ(window.completed_through(), kOpIdMax - 4);
}

TEST(OpWindow, AWriteThatComesAfterALaterOneOnTheSameBytesNeverRuns) {
  OpWindow window(16);
  RunOp(window, Write(7, 4096, 4096));
  EXPECT_EQ(window.Begin(Write(5, 4096, 512)), Verdict::kOvertaken);
  EXPECT_EQ(window.Begin(Write(5, 8191, 1)), Verdict::kOvertaken);
  EXPECT_EQ(window.Begin(Write(5, 0, 8192)), Verdict::kOvertaken);
  EXPECT_EQ(window.Begin(Write(5, 8192, 512)), Verdict::kNew);
  EXPECT_EQ(window.Begin(Write(4, 3584, 512)), Verdict::kNew);
  EXPECT_EQ(window.Begin(Read(3, 4096, 512)), Verdict::kNew);  // reading late harms nobody
}

TEST(OpWindow, ARunningLaterOpOvertakesToo) {
  OpWindow window(16);
  EXPECT_EQ(window.Begin(Read(9, 0, 512)), Verdict::kNew);
  EXPECT_EQ(window.Begin(Write(8, 0, 512)), Verdict::kOvertaken);
}

TEST(OpWindow, AnOpThatNeverRanOvertakesNobody) {
  OpWindow window(16);
  RunOp(window, Write(7, 4096, 4096), ECANCELED);
  EXPECT_EQ(window.Begin(Write(5, 4096, 512)), Verdict::kNew);
  RunOp(window, Write(8, 0, 512), EIO);  // may have changed bytes
  EXPECT_EQ(window.Begin(Write(6, 0, 512)), Verdict::kOvertaken);
}

TEST(OpWindow, WhatIsForgottenForNowMayComeAgain) {
  OpWindow window(8);
  EXPECT_EQ(window.Begin(Write(1)), Verdict::kNew);
  window.Forget(1);
  EXPECT_EQ(window.Begin(Write(1)), Verdict::kNew);
}

TEST(OpWindow, CompletedThroughStopsAtTheFirstThatHasNotEnded) {
  OpWindow window(8);
  RunOp(window, Write(1, 0));
  RunOp(window, Write(2, 512));
  RunOp(window, Write(4, 1024), EIO);
  EXPECT_EQ(window.completed_through(), 2u);
  EXPECT_THAT(window.Ended(), ElementsAre(Field(&OpResult::op_id, 1), Field(&OpResult::op_id, 2),
                                          Field(&OpResult::op_id, 4)));
  EXPECT_EQ(window.Ended()[2].error, EIO);
}

}  // namespace
}  // namespace sluice::rpc
