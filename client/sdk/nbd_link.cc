// SPDX-License-Identifier: Apache-2.0
#include "client/sdk/nbd_link.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/units.h"
#include "proto/nbd_transmission.h"

SLUICE_SDK_BEGIN
namespace internal {
namespace {

// Receives of one turn, so that one connection does not starve the others.
constexpr int kMaxReceives = 16;
// More are no answer to what was asked for, but an attack on our memory.
constexpr size_t kMaxExtents = size_t{8} << 20;

nbd::Command CommandOf(OpKind kind) {
  switch (kind) {
    case OpKind::kRead:
      return nbd::Command::kRead;
    case OpKind::kWrite:
      return nbd::Command::kWrite;
    case OpKind::kWriteZeroes:
      return nbd::Command::kWriteZeroes;
    case OpKind::kDiscard:
      return nbd::Command::kTrim;
    case OpKind::kFlush:
      return nbd::Command::kFlush;
    case OpKind::kExtents:
      return nbd::Command::kBlockStatus;
    case OpKind::kChecksums:
      break;  // NBD has none
  }
  SLUICE_CHECK(false);
}

uint16_t FlagsOf(const Op& op) {
  uint16_t flags = 0;
  if ((op.flags & kFua) != 0) flags |= nbd::kFlagFua;
  if ((op.flags & kNoHole) != 0) flags |= nbd::kFlagNoHole;
  return flags;
}

Status FromWire(nbd::Error error, nbd::Command command) {
  if (error == nbd::Error::kNone) return {};
  StatusCode code = StatusCode::kIoError;
  if (error == nbd::Error::kPerm) code = StatusCode::kReadOnly;
  if (error == nbd::Error::kInval || error == nbd::Error::kOverflow) {
    code = StatusCode::kInvalidArgument;
  }
  if (error == nbd::Error::kNoSpc) code = StatusCode::kNoSpace;
  if (error == nbd::Error::kNotSup) code = StatusCode::kUnsupported;
  if (error == nbd::Error::kShutdown) code = StatusCode::kUnavailable;
  return Status(code, "the server answers " + std::string(nbd::CommandName(command)) + " with " +
                          std::string(nbd::ErrorName(error)) + "; its log says why");
}

}  // namespace

Status FromAbsl(const absl::Status& status) {
  if (status.ok()) return {};
  StatusCode code = StatusCode::kUnavailable;
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      code = StatusCode::kInvalidArgument;
      break;
    case absl::StatusCode::kNotFound:
      code = StatusCode::kNotFound;
      break;
    case absl::StatusCode::kDataLoss:
      code = StatusCode::kProtocolError;
      break;
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kPermissionDenied:
      code = StatusCode::kFailedPrecondition;
      break;
    default:
      break;
  }
  return Status(code, std::string(status.message()));
}

NbdLink::~NbdLink() {
  if (up()) Down();
}

void NbdLink::Attach(NbdConnection connection) {
  SLUICE_CHECK(!up() && orphans_.empty());
  ReplySink& sink = *this;
  session_.emplace(std::move(connection), depth_, sink);
  watching_room_ = false;
  engine_.Watch(session_->connection.fd(), EPOLLIN, *this, false);
}

void NbdLink::Push(Op& op) {
  Session& session = *session_;
  if (session.flight.in_flight() == 0) heard_ns_ = MonotonicNs();
  Request& request = session.flight.Take();
  request.command = CommandOf(op.kind);
  request.offset = op.offset;
  request.length = op.length;
  Passenger& passenger = session.passengers[request.slot()];
  passenger = {&op, session.outbox.pushed_bytes(), 0};
  ConstByteSpan payload;
  if (op.kind == OpKind::kWrite) payload = {reinterpret_cast<uint8_t*>(op.data), op.length};
  session.outbox.Push({.flags = FlagsOf(op),
                       .command = request.command,
                       .cookie = request.cookie,
                       .offset = op.offset,
                       .length = op.length},
                      payload);
  passenger.end = session.outbox.pushed_bytes();
  if (!std::exchange(sending_soon_, true)) engine_.Soon(*this);
}

void NbdLink::Close() {
  if (!up()) return;
  const bool quiet = in_flight() == 0;
  if (!quiet) {
    Down();
    return;
  }
  engine_.Unwatch(session_->connection.fd(), *this);
  CloseNbd(std::move(session_->connection));
  session_.reset();
}

std::vector<NbdLink::Orphan> NbdLink::TakeOrphans() { return std::exchange(orphans_, {}); }

void NbdLink::OnReady(uint32_t epoll_events) {
  absl::Status status;
  if ((epoll_events & EPOLLOUT) != 0) status = Send();
  if (status.ok() && (epoll_events & ~uint32_t{EPOLLOUT}) != 0) status = Receive();
  if (!status.ok()) Lose(status);
}

void NbdLink::OnTurnEnd() {
  sending_soon_ = false;
  if (absl::Status status = Send(); !status.ok()) Lose(status);
}

void NbdLink::OnTick(uint64_t now_ns) {
  if (reply_timeout_ms_ == 0 || in_flight() == 0) return;
  if (now_ns - std::min(now_ns, heard_ns_) < reply_timeout_ms_ * kMillisecond) return;
  Lose(absl::UnavailableError("the server is silent though answers are due"));
}

absl::Status NbdLink::Send() {
  if (absl::Status status = session_->outbox.Send(session_->connection.fd()); !status.ok()) {
    return status;
  }
  const bool want_room = !session_->outbox.empty();
  if (want_room != watching_room_) {
    engine_.Watch(session_->connection.fd(), want_room ? EPOLLIN | uint32_t{EPOLLOUT} : EPOLLIN,
                  *this, true);
    watching_room_ = want_room;
  }
  return absl::OkStatus();
}

absl::Status NbdLink::Receive() {
  for (int i = 0; i < kMaxReceives; ++i) {
    const ByteSpan room = session_->reader.Room();
    const ssize_t got = recv(session_->connection.fd(), room.data(), room.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) break;
    if (got <= 0) return ConnectionLost(got == 0 ? 0 : errno);
    heard_ns_ = MonotonicNs();
    const auto count = static_cast<size_t>(got);
    if (absl::Status status = session_->reader.Take(count); !status.ok()) return status;
    if (count < room.size()) break;
  }
  return absl::OkStatus();
}

void NbdLink::OnData(Request& request, uint64_t offset, ConstByteSpan bytes) {
  std::memcpy(OpOf(request).data + (offset - request.offset), bytes.data(), bytes.size());
}

void NbdLink::OnHole(Request& request, uint64_t offset, uint32_t length) {
  std::memset(OpOf(request).data + (offset - request.offset), 0, length);
}

uint8_t* NbdLink::PlaceFor(Request& request, uint64_t offset, uint64_t) {
  return reinterpret_cast<uint8_t*>(OpOf(request).data + (offset - request.offset));
}

void NbdLink::OnExtents(Request& request, ConstByteSpan descriptors) {
  Op& op = OpOf(request);
  const nbd::BlockStatus told{.context_id = 0, .extents = descriptors};
  for (size_t i = 0; i < told.extent_count() && op.covered < op.length; ++i) {
    const nbd::StatusExtent extent = told.extent(i);
    const uint32_t length = std::min(extent.length, op.length - op.covered);
    if (length == 0 || op.extents->size() >= kMaxExtents) continue;
    const bool hole = (extent.status & nbd::kStateHole) != 0;
    const bool zero = (extent.status & nbd::kStateZero) != 0;
    if (!op.extents->empty() && op.extents->back().hole == hole &&
        op.extents->back().zero == zero) {
      op.extents->back().length += length;
    } else {
      op.extents->push_back({op.offset + op.covered, length, hole, zero});
    }
    op.covered += length;
  }
}

void NbdLink::OnDone(Request& request) {
  Op& op = OpOf(request);
  Status status = FromWire(request.error, request.command);
  if (status.ok() && op.kind == OpKind::kExtents && op.covered == 0) {
    status = Status(StatusCode::kProtocolError, "the server tells no extents, or far too many");
  }
  session_->passengers[request.slot()].op = nullptr;
  session_->flight.Release(request);
  owner_.OnAnswered(*this, op, std::move(status));
}

void NbdLink::Lose(const absl::Status& why) {
  Down();
  owner_.OnLost(*this, FromAbsl(why));
}

void NbdLink::Down() {
  std::vector<Passenger> left;
  for (const Passenger& passenger : session_->passengers) {
    if (passenger.op != nullptr) left.push_back(passenger);
  }
  std::sort(left.begin(), left.end(),
            [](const Passenger& a, const Passenger& b) { return a.begin < b.begin; });
  const uint64_t sent = session_->outbox.sent_bytes();
  for (const Passenger& passenger : left) {
    orphans_.push_back({passenger.op, passenger.end <= sent});
  }
  engine_.Unwatch(session_->connection.fd(), *this);
  sending_soon_ = false;
  session_.reset();
}

}  // namespace internal
SLUICE_SDK_END
