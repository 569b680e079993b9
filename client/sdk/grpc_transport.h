// SPDX-License-Identifier: Apache-2.0
// A volume over the gRPC door: numbers its operations, puts what is ready into messages, and keeps
// to the law of proto/sluice/v1/block.proto when a stream or the session is lost.
//
// Two changes that overlap are never outstanding together (range_guard.h). So one that is sent
// again is older than no answered one that it overlaps, on whatever stream either went: it cannot
// revert anything.
//
// On the volume's I/O thread but for Open() and PrepareToStop().
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/sdk/flush_doubts.h"
#include "client/sdk/grpc_loop.h"
#include "client/sdk/grpc_ranges.h"
#include "client/sdk/grpc_session.h"
#include "client/sdk/op_ledger.h"
#include "client/sdk/range_guard.h"
#include "client/sdk/transport.h"
#include "client/uri.h"

SLUICE_SDK_BEGIN
namespace internal {

class GrpcTransport final : public Transport,
                            private GrpcLoop::Handler,
                            private GrpcSession::Owner {
 public:
  // Blocks until the session is attached; not on an I/O thread.
  static Result<std::unique_ptr<Transport>> Open(const SluiceUri& uri, const Options& options);
  ~GrpcTransport() override;

  IoThread& thread() override { return *loop_; }
  const VolumeInfo& info() const override { return info_; }
  uint64_t size_bytes() const override { return size_bytes_.load(std::memory_order_relaxed); }
  uint32_t max_length(OpKind kind) const override;
  void Start(Op& op) override;
  void PrepareToStop() override {}
  void Stop() override;

 private:
  class Opening;
  struct Lane {
    uint32_t ops = 0;  // in flight
    uint64_t bytes = 0;
  };

  explicit GrpcTransport(const Options& options) : options_(options) {}

  void OnTurnEnd() override;
  void OnTick(uint64_t now_ns) override;
  uint64_t next_tick_ns() const override;

  Status OnOpened(const v1::OpenVolumeResponse& session, bool again) override;
  void OnAttached(const v1::IoAttached& attached) override;
  void OnMessage(size_t lane, IoReply& reply) override;
  void OnLost(const Status& why) override;
  void OnFailed(const Status& why) override;
  void OnEvent(Event event, const std::string& text) override;

  // What a lane can take now, as one message.
  void Fill(size_t lane);
  bool HasRoom(size_t lane, const Op& op) const;
  void OnResult(const v1::OpResult& result, IoReply& reply);
  // Of an op that is out of the ledger.
  void OnDone(Op& op);
  void AskAgain(Op& op, const v1::OpResult& result);
  void AskFirst(Op& op);
  void End(Op& op, Status status);
  // What was outstanding in a session that is lost.
  void Inherit();
  void Fail(const Status& why);
  void SetSize(uint64_t size_bytes);
  // When the streams have been silent for too long; UINT64_MAX: nothing is due.
  uint64_t SilenceNs() const;

  const Options options_;
  VolumeInfo info_;
  std::atomic<uint64_t> size_bytes_ = 0;
  uint32_t max_effect_bytes_ = 0;
  uint32_t max_message_ops_ = 0;
  uint32_t max_message_bytes_ = 0;  // of data
  Opening* opening_ = nullptr;      // until the first attach

  OpLedger ledger_;
  RangeGuard guard_;
  std::deque<Op*> waiting_;     // have no number
  std::deque<uint64_t> again_;  // are in the ledger, and to be sent again
  std::vector<Lane> lanes_;
  size_t next_lane_ = 0;
  bool draining_ = false;  // the server says so: what comes now would be refused
  uint64_t heard_ns_ = 0;  // when a message came last, or the first of what is due was sent
  std::vector<NumberedOp> message_;
  Status failure_;  // ok while the volume works

  FlushDoubts doubts_;

  std::optional<GrpcSession> session_;
  std::optional<GrpcRanges> ranges_;  // together with the session
  std::unique_ptr<GrpcLoop> loop_;    // goes first, and so awaits the session's calls
};

}  // namespace internal
SLUICE_SDK_END
