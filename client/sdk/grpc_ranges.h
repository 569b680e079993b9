// SPDX-License-Identifier: Apache-2.0
// The ops that ask about a range of a volume over gRPC: each is a call of its own beside the Io
// streams. What was told is kept when a call ends early: the op ends then, and the task asks for
// the rest. Since these ops change nothing, one that was told nothing is asked again when the
// session is back. On the volume's I/O thread.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "client/sdk/grpc_loop.h"
#include "client/sdk/grpc_range_call.h"
#include "client/sdk/grpc_session.h"
#include "client/sdk/transport.h"

SLUICE_SDK_BEGIN
namespace internal {

class GrpcRanges final : private RangeCall::Owner {
 public:
  // Options::reply_timeout_ms holds for each call. The session outlives it.
  GrpcRanges(GrpcLoop& loop, GrpcSession& session, uint32_t reply_timeout_ms)
      : loop_(loop), session_(session), reply_timeout_ms_(reply_timeout_ms) {}

  void Add(Op& op) { waiting_.push_back(&op); }
  bool waiting() const { return !waiting_.empty(); }
  // Asks for what waits. REQUIRES: the session is up.
  void Ask();
  // Nothing that comes is believed any more.
  void OnLost();
  // The server takes calls again.
  void OnAttached() { draining_ = false; }
  // All ops, in no order.
  std::vector<Op*> TakeAll();

  // Breaks the session if the server is silent.
  void OnTick(uint64_t now_ns);
  uint64_t next_tick_ns() const;

 private:
  bool OnPiece() override { return session_.Holds(); }
  void OnEnd(RangeCall& call, Op& op, const Failure& failure) override;

  template <typename Request>
  Request About(const Op& op) const;
  RangeCall* Start(Op& op);
  uint64_t DueNs(const RangeCall& call) const;
  // Asks again, later, unless it was in vain too often.
  void Retry(Op& op, const Status& why);

  GrpcLoop& loop_;
  GrpcSession& session_;
  const uint32_t reply_timeout_ms_;
  std::deque<Op*> waiting_;
  std::vector<RangeCall*> calls_;  // none while the session is not up
  bool draining_ = false;
};

}  // namespace internal
SLUICE_SDK_END
