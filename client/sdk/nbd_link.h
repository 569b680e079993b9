// SPDX-License-Identifier: Apache-2.0
// One NBD connection of a volume, on the I/O thread: operations in, outcomes back. All that was
// pushed in a turn leaves in one send, all that came is taken apart at once.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/nbd/flight.h"
#include "client/nbd/outbox.h"
#include "client/nbd/reply_reader.h"
#include "client/nbd_connection.h"
#include "client/sdk/engine.h"
#include "client/sdk/transport.h"

SLUICE_SDK_BEGIN
namespace internal {

class NbdLink final : private Engine::Handler, private ReplySink {
 public:
  class Owner {
   public:
    virtual void OnAnswered(NbdLink& link, Op& op, Status status) = 0;
    // The link is down; what was in flight waits to be taken.
    virtual void OnLost(NbdLink& link, const Status& why) = 0;

   protected:
    ~Owner() = default;
  };

  // An op whose connection was lost.
  struct Orphan {
    Op* op = nullptr;
    bool sent = false;  // the server may have got all of it
  };

  NbdLink(Engine& engine, Owner& owner, const Options& options)
      : engine_(engine),
        owner_(owner),
        depth_(options.queue_depth),
        reply_timeout_ms_(options.reply_timeout_ms) {}
  ~NbdLink();
  NbdLink(const NbdLink&) = delete;
  NbdLink& operator=(const NbdLink&) = delete;

  // Down before, up then.
  void Attach(NbdConnection connection);
  bool up() const { return session_.has_value(); }
  // Takes no op at present.
  bool full() const { return session_->flight.full() || session_->outbox.full(); }
  uint32_t in_flight() const { return session_->flight.in_flight(); }

  // Up and not full.
  void Push(Op& op);
  // Says DISC if nothing is outstanding, and is down. The owner is told nothing.
  void Close();
  // Down: what was in flight, in the order it was pushed.
  std::vector<Orphan> TakeOrphans();

 private:
  struct Passenger {
    Op* op = nullptr;
    uint64_t begin = 0, end = 0;  // its place in the stream of bytes that are sent
  };
  struct Session {
    Session(NbdConnection opened, uint32_t depth, ReplySink& sink)
        : connection(std::move(opened)),
          flight(depth),
          outbox(depth),
          reader(flight, sink, connection.structured(), connection.extents_context()),
          passengers(depth) {}

    NbdConnection connection;
    Flight flight;
    Outbox outbox;
    ReplyReader reader;
    std::vector<Passenger> passengers;  // by slot
  };

  void OnReady(uint32_t epoll_events) override;
  void OnTurnEnd() override;
  void OnTick(uint64_t now_ns) override;
  bool busy() const override { return in_flight() > 0; }

  void OnData(Request& request, uint64_t offset, ConstByteSpan bytes) override;
  void OnHole(Request& request, uint64_t offset, uint32_t length) override;
  uint8_t* PlaceFor(Request& request, uint64_t offset, uint64_t length) override;
  void OnExtents(Request& request, ConstByteSpan descriptors) override;
  void OnDone(Request& request) override;

  Op& OpOf(const Request& request) { return *session_->passengers[request.slot()].op; }
  absl::Status Send();
  absl::Status Receive();
  void Lose(const absl::Status& why);
  void Down();

  Engine& engine_;
  Owner& owner_;
  const uint32_t depth_;
  const uint32_t reply_timeout_ms_;
  std::optional<Session> session_;
  std::vector<Orphan> orphans_;
  uint64_t heard_ns_ = 0;  // when something came last, or the first of what is due was pushed
  bool sending_soon_ = false;
  bool watching_room_ = false;
};

// The SDK's words for what our own parts say.
Status FromAbsl(const absl::Status& status);

}  // namespace internal
SLUICE_SDK_END
