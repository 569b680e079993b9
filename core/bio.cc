// SPDX-License-Identifier: Apache-2.0
#include "core/bio.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/check.h"
#include "core/reactor.h"
#include "core/target.h"

namespace sluice {
namespace {

// Stand for the state of an abandoned bio whose target lives on another reactor; `callbacks` is the
// home's to write, so neither side races. A bio so marked is released only when both its completion
// and the acknowledgement are back.
Callback g_ack_awaited;
Callback g_finished_before_ack;

bool IsMarked(const Bio& bio) noexcept {
  return bio.callbacks == &g_ack_awaited || bio.callbacks == &g_finished_before_ack;
}

// A callback may abandon its own bio, so the mark may appear on the way.
void RunCallbacks(Bio& bio) noexcept {
  while (bio.callbacks != nullptr && !IsMarked(bio)) {
    Callback* callback = bio.callbacks;
    bio.callbacks = callback->next;
    callback->run(bio, callback->context);
  }
}

void Release(Bio& bio) noexcept {
  Bio* parent = bio.parent;
  const int error = bio.error;
  if (parent != nullptr) {
    ++parent->finished;
    const uint32_t done = bio.length - bio.resid;
    parent->resid -= std::min(parent->resid, done);
    parent->stage_ns = std::max(parent->stage_ns, bio.stage_ns);  // its last stage began then
  }
  bio.release(bio);
  if (parent != nullptr) Done(*parent, error);
}

}  // namespace

const char* OpName(Op op) {
  static constexpr const char* kNames[kOps] = {"read", "write", "flush", "trim", "zero", "cache"};
  return kNames[static_cast<int>(op)];
}

void Submit(Bio& bio) noexcept {
  Reactor* reactor = Reactor::Current();
  SLUICE_CHECK(reactor != nullptr && bio.pending == 1 && bio.release != nullptr);
  SLUICE_CHECK(bio.where == Where::kSubmitter);
  bio.home = reactor->id();
  bio.resid = bio.length;
  if (bio.born_ns == 0) bio.born_ns = reactor->now_ns();
  const uint16_t to = bio.target->home();
  if (to == kNoHome || to == bio.home) return bio.target->Strategy(bio);
  bio.where = Where::kMailbox;
  reactor->Send(to, Mail::kSubmit, bio);
}

void Done(Bio& bio, int error) noexcept {
  SLUICE_CHECK(bio.pending > 0 && error >= 0);
  if (bio.error == 0) bio.error = static_cast<int16_t>(error);
  if (--bio.pending > 0) return;
  bio.where = Where::kDone;
  Reactor* reactor = Reactor::Current();
  SLUICE_CHECK(reactor != nullptr);
  if (bio.home == reactor->id()) return reactor->CameHome(bio);
  reactor->Send(bio.home, Mail::kComplete, bio);
}

void Nest(Bio& parent, Bio& child) noexcept {
  Reactor* reactor = Reactor::Current();
  SLUICE_CHECK(reactor != nullptr && parent.pending > 0 && parent.pending < UINT16_MAX);
  ++parent.pending;
  child.parent = &parent;
  child.home = reactor->id();
  child.op = parent.op;
  child.flags = static_cast<uint8_t>(parent.flags & ~(kBorrow | kLent | kCarrier));
  child.prio = parent.prio;
  child.flow = parent.flow;
  child.born_ns = parent.born_ns;
  child.stage_ns = parent.stage_ns;
}

void PushCallback(Bio& bio, Callback& callback) noexcept {
  SLUICE_CHECK(!IsMarked(bio));
  callback.next = bio.callbacks;
  bio.callbacks = &callback;
}

void Finish(Bio& bio) noexcept {
  RunCallbacks(bio);
  if (bio.callbacks == &g_ack_awaited) {
    bio.callbacks = &g_finished_before_ack;
    return;
  }
  Release(bio);
}

void Abandon(Bio& bio) noexcept {
  Reactor* reactor = Reactor::Current();
  SLUICE_CHECK(reactor != nullptr && bio.home == reactor->id() && !IsMarked(bio));
  bio.callbacks = nullptr;
  const uint16_t to = bio.target->home();
  if (to != kNoHome && to != bio.home) {
    bio.callbacks = &g_ack_awaited;
    return reactor->Send(to, Mail::kAbandon, bio);
  }
  if (bio.where != Where::kDone) bio.target->Cancel(bio);
}

void DeliverAbandon(Bio& bio) noexcept {
  if (bio.where != Where::kDone) bio.target->Cancel(bio);
  Reactor::Current()->Send(bio.home, Mail::kAbandonAck, bio);
}

void DeliverAbandonAck(Bio& bio) noexcept {
  const bool finished = bio.callbacks == &g_finished_before_ack;
  bio.callbacks = nullptr;
  if (finished) Release(bio);
}

void Expire(Bio& bio, int error) noexcept {
  Reactor* reactor = Reactor::Current();
  SLUICE_CHECK(reactor != nullptr && bio.pending > 0 && error > 0);
  if (bio.error == 0) bio.error = static_cast<int16_t>(error);
  reactor->Send(bio.home, Mail::kExpire, bio);
}

// A child's home is the reactor that nested it, and that owns the parent: so the news climbs, one
// message a level, and nobody touches what is not his. The error is settled and no longer written.
void DeliverExpire(Bio& bio) noexcept {
  if (bio.parent != nullptr) return Expire(*bio.parent, bio.error);
  RunCallbacks(bio);
}

size_t SliceSegments(const Bio& bio, uint32_t at, uint32_t size, Segment* out,
                     size_t room) noexcept {
  SLUICE_CHECK(at <= bio.length && size <= bio.length - at);
  uint64_t skip = uint64_t{bio.seg_skip} + at;
  size_t count = 0;
  for (uint16_t i = 0; size > 0; ++i) {
    SLUICE_CHECK(i < bio.seg_count);
    const Segment& segment = bio.segs[i];
    if (skip >= segment.iov_len) {
      skip -= segment.iov_len;
      continue;
    }
    const size_t part = std::min<size_t>(segment.iov_len - skip, size);
    SLUICE_CHECK(count < room);
    out[count++] = {static_cast<char*>(segment.iov_base) + skip, part};
    size -= static_cast<uint32_t>(part);
    skip = 0;
  }
  return count;
}

namespace {

template <typename F>
void ForEachPart(const Bio& bio, uint32_t at, size_t size, F&& part_at) noexcept {
  SLUICE_CHECK(at <= bio.length && size <= bio.length - at);
  uint64_t skip = uint64_t{bio.seg_skip} + at;
  size_t done = 0;
  for (uint16_t i = 0; done < size; ++i) {
    SLUICE_CHECK(i < bio.seg_count);
    const Segment& segment = bio.segs[i];
    if (skip >= segment.iov_len) {
      skip -= segment.iov_len;
      continue;
    }
    const size_t part = std::min(segment.iov_len - skip, size - done);
    part_at(static_cast<char*>(segment.iov_base) + skip, done, part);
    done += part;
    skip = 0;
  }
}

}  // namespace

void CopyFromBio(const Bio& bio, uint32_t at, void* to, size_t size) noexcept {
  ForEachPart(bio, at, size, [&](const char* memory, size_t done, size_t part) {
    std::memcpy(static_cast<char*>(to) + done, memory, part);
  });
}

void CopyToBio(const Bio& bio, uint32_t at, const void* from, size_t size) noexcept {
  ForEachPart(bio, at, size, [&](char* memory, size_t done, size_t part) {
    std::memcpy(memory, static_cast<const char*>(from) + done, part);
  });
}

Loan& LoanOf(const Bio& bio) noexcept {
  SLUICE_CHECK((bio.flags & kLent) != 0);
  return *(reinterpret_cast<Loan*>(const_cast<Segment*>(bio.segs)) - 1);
}

void ReturnLoan(Bio& bio) noexcept {
  Loan& loan = LoanOf(bio);
  bio.flags = static_cast<uint8_t>(bio.flags & ~kLent);
  bio.segs = nullptr;
  loan.give_back(loan);
}

}  // namespace sluice
