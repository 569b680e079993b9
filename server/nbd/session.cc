// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/session.h"

#include <algorithm>
#include <utility>

#include "core/units.h"

namespace sluice::nbd {
namespace {

constexpr int kAskingMax = 4;  // BLOCK_STATUS requests of one session under way

RequestKind KindOfCommand(Command command) {
  constexpr RequestKind kKinds[] = {
      RequestKind::kRead, RequestKind::kWrite, RequestKind::kUnknown, RequestKind::kFlush,
      RequestKind::kTrim, RequestKind::kCache, RequestKind::kZero,    RequestKind::kExtents};
  const auto number = static_cast<size_t>(command);
  return number < std::size(kKinds) ? kKinds[number] : RequestKind::kUnknown;
}

}  // namespace

Session::Session(Reactor& reactor, Target& target, Negotiated negotiated, const Options& options,
                 Owner& owner, ClientStats& stats)
    : reactor_(reactor),
      target_(target),
      exported_(std::move(negotiated.exported)),
      options_(options),
      owner_(owner),
      stats_(stats),
      structured_(negotiated.structured_replies),
      lends_(target.home() == kNoHome || target.home() == reactor.id()),
      staging_(std::max(kStagingBytes, negotiated.unparsed.size())),
      records_(options.requests_max),
      memory_(reactor, target) {
  const Limits& limits = target.limits();
  // Who asked for the sizes must obey them; who did not is served as finely as the target can.
  terms_.block_bytes =
      negotiated.block_sizes ? std::max(exported_->min_block_bytes, limits.block) : limits.block;
  terms_.flags = TransmissionFlags(*exported_, structured_);
  terms_.allocation_context = negotiated.allocation_context.has_value();
  const ByteSpan room = staging_.Room();
  std::copy(negotiated.unparsed.begin(), negotiated.unparsed.end(), room.begin());
  staging_.Filled(negotiated.unparsed.size());
  line_.context = this;
  line_.run = [](PoolWaiter& waiter) noexcept {
    auto& session = *static_cast<Session*>(waiter.context);
    session.stats_.in_line.Sub(1);
    session.Parse(true);
    session.owner_.OnSessionChanged();
  };
}

Session::~Session() { SLUICE_CHECK(idle()); }

// --- receiving ---

bool Session::wants_receive() const {
  return !ended_ && !receiving_ && !stalled_ && !line_.line.is_linked();
}

size_t Session::ReceiveInto(Segment* to, size_t room) {
  SLUICE_CHECK(wants_receive() && room >= 2);
  receiving_ = true;
  direct_bytes_ = 0;
  size_t count = 0;
  const bool payload = current_ != nullptr && current_->state == ServedRequest::State::kReceiving;
  if (payload && (long_payloads_ || current_->header.length - current_->taken >= kDirectBytes)) {
    uint64_t skip = current_->taken % current_->part_bytes;
    for (size_t part = current_->taken / current_->part_bytes;
         part < current_->parts.size() && count < room - 1 && direct_bytes_ < kReceiveBytes;
         ++part) {
      const Bio& bio = current_->parts[part]->bio;
      for (uint16_t i = 0; i < bio.seg_count && count < room - 1; ++i) {
        const Segment& segment = bio.segs[i];
        const uint64_t before = std::min<uint64_t>(skip, segment.iov_len);
        skip -= before;
        if (before == segment.iov_len) continue;
        to[count++] = {static_cast<char*>(segment.iov_base) + before, segment.iov_len - before};
        direct_bytes_ += segment.iov_len - before;
      }
    }
    if (current_->taken + direct_bytes_ < current_->header.length) return count;
  }
  const ByteSpan staging = staging_.Room();
  const size_t wanted = long_payloads_ ? kShortStagingBytes : staging.size();
  to[count++] = {staging.data(), std::min(staging.size(), wanted)};
  return count;
}

void Session::Fed(size_t bytes) {
  const size_t direct = receiving_ ? std::min(bytes, direct_bytes_) : 0;
  receiving_ = false;
  direct_bytes_ = 0;
  if (ended_) return DropCurrent();
  if (direct > 0) current_->taken += static_cast<uint32_t>(direct);
  staging_.Filled(bytes - direct);
  if (!stalled_ && !line_.line.is_linked()) Parse(false);
}

void Session::Parse(bool first_in_line) {
  SLUICE_CHECK(!receiving_);
  while (!ended_) {
    if (current_ != nullptr) {
      if (!TakePayload()) return;
    } else {
      if (staging_.bytes().size() < kRequestBytes) return;
      if (!TakeRequest(first_in_line)) return;
      first_in_line = false;
    }
  }
}

bool Session::TakePayload() {
  ServedRequest& request = *current_;
  const uint32_t missing = request.header.length - request.taken;
  const auto size = static_cast<uint32_t>(std::min<size_t>(missing, staging_.bytes().size()));
  if (request.state == ServedRequest::State::kReceiving) {
    const uint8_t* from = staging_.bytes().data();
    for (uint32_t done = 0; done < size;) {
      const uint32_t at = (request.taken + done) % request.part_bytes;
      const Bio& bio = request.parts[(request.taken + done) / request.part_bytes]->bio;
      const uint32_t part = std::min(size - done, bio.length - at);
      CopyToBio(bio, at, from + done, part);
      done += part;
    }
  }
  request.taken += size;
  staging_.Consume(size);
  if (request.taken < request.header.length) return false;
  current_ = nullptr;
  if (request.parts.empty()) {
    Answer(request);  // it was refused
  } else {
    Launch(request);
  }
  return true;
}

bool Session::TakeRequest(bool first_in_line) {
  const auto header = DecodeRequest(staging_.bytes().first(kRequestBytes));
  if (!header) {
    End("request without its magic number");
    return false;
  }
  if (header->command == Command::kDisc) {
    End("the client disconnected");
    return false;
  }
  if (header->command == Command::kWrite && header->length > kAcceptedPayloadBytes) {
    End("WRITE of " + std::to_string(header->length) + " bytes");
    return false;
  }
  // The answers of queries lie outside the pools.
  const bool asks = header->command == Command::kBlockStatus;
  if (records_.full() || (asks && asking_ == kAskingMax)) {
    stalled_ = true;
    stats_.waits_own.Add(1);
    return false;
  }
  return Begin(*header, first_in_line);
}

// Gives the request a record and memory and takes its header from staging, or leaves everything as
// it was.
bool Session::Begin(const Request& header, bool first_in_line) {
  terms_.size_bytes = exported_->size_bytes;  // it may have grown
  Refusal refusal = Check(header, terms_);
  if (draining_) refusal = {ESHUTDOWN, "the server is shutting down"};
  const bool has_effect = header.length > 0 || header.command == Command::kFlush;
  const bool needs_parts =
      refusal.error == 0 && has_effect && header.command != Command::kBlockStatus;

  ServedRequest& request = records_.New();
  if (needs_parts) {
    switch (memory_.Take(request, ShapeOf(header), first_in_line)) {
      case RequestMemory::Verdict::kTaken:
        break;
      case RequestMemory::Verdict::kNever:
        refusal = {EOVERFLOW, "the request is larger than the server's memory"};
        break;
      case RequestMemory::Verdict::kWaitOwn:
        stalled_ = true;
        stats_.waits_own.Add(1);
        records_.Delete(request);
        return false;
      case RequestMemory::Verdict::kWaitPool:
        reactor_.WaitForPool(line_, first_in_line);
        stats_.in_line.Add(1);
        if (!first_in_line) stats_.waits_pool.Add(1);
        records_.Delete(request);
        return false;
    }
  }
  staging_.Consume(kRequestBytes);
  request.session = this;
  request.header = header;
  request.born_ns = reactor_.now_ns();
  request.sent = false;
  request.taken = 0;
  request.error = 0;
  request.text = "";
  request.error_offset.reset();
  request.kind = KindOfCommand(header.command);
  stats_.of(request.kind).requests.Add(1);

  const bool has_payload = header.command == Command::kWrite && header.length > 0;
  if (refusal.error != 0 || !has_effect) {
    request.error = refusal.error;
    request.text = refusal.text;
    request.state = ServedRequest::State::kDiscarding;
    if (!has_payload) {
      Answer(request);
      return true;
    }
  } else if (!has_payload) {
    Launch(request);
    return true;
  } else if (target_.limits().swallows) {
    request.state = ServedRequest::State::kDiscarding;
  } else {
    request.state = ServedRequest::State::kReceiving;
  }
  long_payloads_ = request.state == ServedRequest::State::kReceiving &&
                   header.length >= kDirectBytes + kShortStagingBytes;
  current_ = &request;
  ++payloads_;
  return true;
}

bool Session::Borrows(const Request& header) const {
  return lends_ && header.command == Command::kRead &&
         target_.limits().lend_bytes_max >= terms_.block_bytes;
}

RequestMemory::Shape Session::ShapeOf(const Request& header) const {
  RequestMemory::Shape shape;
  shape.offset = header.offset;
  shape.length = header.length;
  switch (header.command) {
    case Command::kRead:
      shape.payload = !Borrows(header);
      shape.part_bytes =
          shape.payload
              ? kMaxTransfer
              : static_cast<uint32_t>(AlignDown(
                    std::min(kMaxTransfer, target_.limits().lend_bytes_max), terms_.block_bytes));
      break;
    case Command::kWrite:
      shape.payload = !target_.limits().swallows;
      shape.part_bytes = kMaxTransfer;
      break;
    default:
      shape.part_bytes = kMaxEffect;
      break;
  }
  return shape;
}

// --- ending ---

// Nothing more needs memory: what was received and waits for some is refused.
void Session::Drain() {
  draining_ = true;
  if (!line_.line.is_linked()) return;
  LeaveLine();
  Parse(false);
}

// Those behind may be served by what there is.
void Session::LeaveLine() {
  if (!line_.line.is_linked()) return;
  line_.line.unlink();
  stats_.in_line.Sub(1);
  reactor_.PoolsGave();
}

void Session::EndOfInput() {
  End("the client closed its side");
  if (!receiving_) DropCurrent();
}

void Session::End(std::string reason) {
  if (ended_) return;
  ended_ = true;
  end_reason_ = std::move(reason);
  stalled_ = false;
  LeaveLine();
  owner_.OnSessionChanged();
}

// Forgets a half-received request: nothing of it reached the target (R7).
void Session::DropCurrent() {
  if (current_ == nullptr) return;
  ServedRequest& request = *std::exchange(current_, nullptr);
  stats_.dropped.Add(1);
  memory_.GiveAll(request);
  records_.Delete(request);
  owner_.OnSessionChanged();
}

void Session::Abandon() {
  End("the peer is gone");
  if (abandoned_) return;
  abandoned_ = true;
  replies_.Clear();
  if (!receiving_) DropCurrent();
  records_.ForEach([this](ServedRequest& request) {
    if (&request == current_) return;
    if (request.unreleased > 0) {
      for (BioCell* cell : request.parts) {
        if (cell->owner != nullptr) sluice::Abandon(cell->bio);
      }
    }
    if (!std::exchange(request.sent, true)) stats_.dropped.Add(1);
    Retire(request);
  });
  owner_.OnSessionChanged();
}

void Session::Sent(size_t bytes) {
  replies_.Sent(bytes, [this](ServedRequest& request) {
    stats_.of(request.kind).total_ns.Add(reactor_.now_ns() - request.born_ns);
    for (BioCell* cell : request.parts) {
      if (cell->owner == nullptr) stats_.stages.End(cell->bio, Stage::kAnswer, reactor_.now_ns());
    }
    request.sent = true;
    Retire(request);
  });
  Resume();
}

void Session::Retire(ServedRequest& request) {
  if (!request.sent || request.unreleased > 0 || request.asking) return;
  memory_.GiveAll(request);
  records_.Delete(request);
}

void Session::Resume() {
  if (!stalled_) return;
  stalled_ = false;
  Parse(false);
  owner_.OnSessionChanged();
}

}  // namespace sluice::nbd
