// SPDX-License-Identifier: Apache-2.0
// Disk: what is taken back before it is done, and what is done about a device that hangs.
#include <cerrno>

#include "storage/disk.h"

namespace sluice {

void Disk::Cancel(Bio& bio) noexcept {
  switch (bio.where) {
    case Where::kWaiting:
      return EndBio(bio, ECANCELED);
    case Where::kGather:
      gather_.Unplug(bio);
      return EndBio(bio, ECANCELED);
    case Where::kBufq:
      bufq_->Cancel(bio);
      return EndBio(bio, ECANCELED);
    case Where::kRider:
      return CancelRider(bio);
    default:
      return;  // it ends at the device
  }
}

// A waiting carrier that loses a rider gives the others back: to be gathered anew, or, behind a
// flush that they may not cross, as singles.
void Disk::CancelRider(Bio& bio) noexcept {
  Carrier* carrier = gather_.FindCarrierOf(bio);
  if (carrier == nullptr) return;
  if (carrier->held_by != nullptr) {
    static_cast<Slot*>(carrier->held_by)->held = nullptr;
  } else {
    bufq_->Cancel(carrier->bio);
  }
  const bool cut = carrier->cut;
  BioFifo riders;
  gather_.Dissolve(*carrier, riders);
  while (!riders.empty()) {
    Bio& rider = riders.front();
    riders.pop_front();
    if (&rider == &bio) continue;
    cut ? bufq_->Put(rider) : gather_.Plug(rider);
  }
  EndBio(bio, ECANCELED);
}

void Disk::CheckTimeouts() noexcept {
  const uint64_t now_ns = home_->now_ns();
  const uint64_t before_ns = now_ns > options_.io_timeout_ns ? now_ns - options_.io_timeout_ns : 0;
  const size_t slots = ExpireSlots(before_ns);
  const bool slow = slow_.ExpireBefore(before_ns, ExpireBio);
  const bool flush = flusher_.ExpireBefore(before_ns, ExpireBio);
  FailStalled(before_ns);
  const bool wants_more = free_.empty() || deferred_ != nullptr || !stalled_.empty();
  const bool hangs = slots > 0 || slow || flush;
  if (hangs && slots == in_flight_.size() && wants_more) FailQueued();
  if (hangs) FailWaiting(before_ns);
  if (!idle()) home_->Arm(timeout_, now_ns + options_.io_timeout_ns / 4);
}

// Told and counted here: its end, should it come, is no other error (EndBio).
void Disk::ExpireBio(Bio& bio, int why, void* disk) noexcept {
  static_cast<Disk*>(disk)->LogError(bio, why);
  Expire(bio, EIO);
}

// Answers the requests of operations that hang; returns how many of these there are.
size_t Disk::ExpireSlots(uint64_t before_ns) noexcept {
  size_t hung = 0;
  for (Slot& slot : in_flight_) {
    if (slot.started_ns >= before_ns) continue;
    ++hung;
    if (slot.expired) continue;
    slot.expired = true;
    ForEachRider(*slot.run, [this](Bio& bio) { ExpireBio(bio, ETIMEDOUT, this); });
    LetGo(slot);
  }
  return hung;
}

// The medium does not have these, so they end here.
void Disk::FailStalled(uint64_t before_ns) noexcept {
  SlotList keep;
  while (!stalled_.empty()) {
    Slot& slot = stalled_.front();
    stalled_.pop_front();
    if (slot.started_ns >= before_ns) {
      keep.push_back(slot);
      continue;
    }
    in_flight_.push_back(slot);
    slot.io.result = -EIO;
    slot.expired = true;
    EndSlot(slot);
  }
  stalled_.swap(keep);
}

// No operation works: what is queued would wait for ever.
void Disk::FailQueued() noexcept {
  CollectRuns();
  BioFifo failed;
  if (deferred_ != nullptr) failed.push_back(*deferred_);
  deferred_ = nullptr;
  failed.splice(failed.end(), next_);
  bufq_->Drain(home_->now_ns(), [&](Bio& run) { failed.push_back(gather_.EndWait(run)); });
  while (!failed.empty()) {
    Bio& run = failed.front();
    failed.pop_front();
    FailRun(run);
  }
  slow_.FailWaiting();
  flusher_.FailWaiting();
}

// Those that waited in the guard all that time, presumably for something that hangs.
void Disk::FailWaiting(uint64_t before_ns) noexcept {
  BioFifo stuck;
  guard_.ForEachWaiting([&](Bio& bio) {
    if (bio.born_ns < before_ns) stuck.push_back(bio);
  });
  while (!stuck.empty()) {
    Bio& bio = stuck.front();
    stuck.pop_front();
    EndBio(bio, EIO);
  }
}

void Disk::FailRun(Bio& run) noexcept {
  if ((run.flags & kCarrier) == 0) return EndBio(run, EIO);
  Carrier& carrier = CarrierOf(run);
  while (!carrier.riders.empty()) {
    Bio& rider = carrier.riders.front();
    carrier.riders.pop_front();
    EndBio(rider, EIO);
  }
  gather_.Free(carrier);
}

}  // namespace sluice
