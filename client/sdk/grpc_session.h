// SPDX-License-Identifier: Apache-2.0
// A client's hold on an export: the session and its lease, the Io streams of the present
// attachment, and getting all that back when it is lost (the law in proto/sluice/v1/block.proto).
// What becomes of ops is its owner's business. On the volume's I/O thread.
//
// The lease counts from before it was asked for, and ends an eighth early: then nothing is sent and
// nothing that comes is passed on until the server has confirmed the session.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "client/sdk/grpc_loop.h"
#include "client/sdk/grpc_status.h"
#include "client/sdk/grpc_stream.h"
#include "client/sdk/grpc_unary.h"
#include "client/uri.h"
#include "sluice/client.h"
#include "sluice/v1/block.grpc.pb.h"

SLUICE_SDK_BEGIN
namespace internal {

class GrpcSession final : private GrpcStream::Owner {
 public:
  class Owner {
   public:
    // A session was granted; `again`: another one, in which nothing of the one before is known.
    // Not ok: it is of no use.
    virtual Status OnOpened(const v1::OpenVolumeResponse& session, bool again) = 0;
    // All streams are attached, and nothing of this session is under way at the server.
    virtual void OnAttached(const v1::IoAttached& attached) = 0;
    virtual void OnMessage(size_t lane, IoReply& reply) = 0;
    // The streams are gone; OnAttached() or OnFailed() follows.
    virtual void OnLost(const Status& why) = 0;
    // For good. kFenced: another client has the export.
    virtual void OnFailed(const Status& why) = 0;
    virtual void OnEvent(Event event, const std::string& text) = 0;

   protected:
    ~Owner() = default;
  };

  GrpcSession(GrpcLoop& loop, Owner& owner, SluiceUri uri, const Options& options,
              std::vector<std::shared_ptr<::grpc::Channel>> channels);
  ~GrpcSession();  // REQUIRES: closed

  void Open();
  // Ends it at the server too; nothing is told any more.
  void Close();

  bool up() const { return state_ == State::kUp; }
  // It is up, and the lease runs. One whose lease is over is lost by this call.
  bool Holds();
  // Streams; constant from the first OnOpened() on.
  size_t lanes() const { return lanes_.size(); }
  // REQUIRES: up().
  bool writable(size_t lane) const { return lanes_[lane].stream->writable(); }
  const v1::IoCredits& credits(size_t lane) const { return lanes_[lane].credits; }
  void Send(size_t lane, const ::grpc::ByteBuffer& message) { lanes_[lane].stream->Send(message); }
  // The streams are to be made anew.
  void Break(const std::string& why);
  // It is of no use, for good.
  void Fail(const Status& why);
  // It is back: the time in which it must be begins anew with the next loss.
  void Back() { trouble_since_ns_ = 0; }
  // Things go on: the next loss is tried again at once, as when it has been up for a while. Until
  // then every try waits longer, also where the server takes the streams each time, to end them.
  void Progress() {
    Back();
    pause_ms_ = 0;
  }

  v1::BlockService::Stub& stub() { return *stub_; }
  const std::string& id() const { return id_; }
  uint64_t epoch() const { return epoch_; }

  void OnTick(uint64_t now_ns);
  uint64_t next_tick_ns() const;

 private:
  enum class State : uint8_t { kNone, kOpening, kAttaching, kUp, kPausing, kFailed, kClosed };
  struct Lane {
    GrpcStream* stream = nullptr;  // null: none
    bool attached = false;
    v1::IoCredits credits;
  };

  void OnMessage(GrpcStream& stream, IoReply& reply) override;
  void OnBroken(GrpcStream& stream, const ::grpc::Status& why) override;

  void OnAnswer(const ::grpc::Status& status, const v1::OpenVolumeResponse& answer);
  void Attach();
  void OnLaneAttached(Lane& lane, IoReply& reply);
  void KeepAlive(uint64_t now_ns);
  void Renew(uint64_t asked_ns);
  void LoseLease();
  // When the open or attach under way has taken too long, or reconnecting altogether.
  uint64_t AttemptEndNs() const;
  void Lose(const Failure& failure);
  // Gives up everything that is under way.
  void Drop();

  GrpcLoop& loop_;
  Owner& owner_;
  const SluiceUri uri_;
  const Options options_;
  const std::vector<std::shared_ptr<::grpc::Channel>> channels_;
  const std::unique_ptr<v1::BlockService::Stub> stub_;

  State state_ = State::kNone;
  bool ever_ = false;         // a session was granted
  bool has_session_ = false;  // and is not known to be lost
  std::string id_;
  uint64_t epoch_ = 0;
  uint64_t lease_ms_ = 0;
  uint64_t attach_seq_ = 0;
  std::vector<Lane> lanes_;
  v1::IoAttached attached_;  // as the first stream was told

  PendingCall* opening_ = nullptr;
  PendingCall* keeping_ = nullptr;
  uint64_t asked_ns_ = 0;  // when the open or attach under way was
  uint64_t lease_end_ns_ = 0;
  uint64_t keep_ns_ = 0;           // when the lease is to be renewed next
  uint64_t retry_ns_ = 0;          // of kPausing
  uint64_t pause_ms_ = 0;          // the next one
  uint64_t trouble_since_ns_ = 0;  // 0: there is none
};

}  // namespace internal
SLUICE_SDK_END
