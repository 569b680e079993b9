// SPDX-License-Identifier: Apache-2.0
// Disk: the way back from the medium. Short transfers go on, failed carriers are sent again rider
// by rider, FUA gets its flush, and everybody is answered.
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "core/log.h"
#include "core/units.h"
#include "storage/disk.h"

namespace sluice {
namespace {

bool IsFua(const Bio& bio) { return (bio.flags & kFua) != 0 && IsWriteType(bio.op); }

}  // namespace

void Disk::OnSlotDone(Slot& slot) noexcept {
  if (!PrepareRest(slot)) return EndSlot(slot);
  if (StartSlot(slot)) return;
  in_flight_.erase(in_flight_.iterator_to(slot));
  stalled_.push_back(slot);
}

// True: the operation has not ended yet, since the transfer was short or the medium asks to try
// again; what is left of it stands in the slot. A carrier is not continued: its riders are.
bool Disk::PrepareRest(Slot& slot) noexcept {
  MediumIo& io = slot.io;
  if (slot.expired || (slot.run->flags & kCarrier) != 0) return false;
  if (IsTransient(io.result)) return ++slot.transient <= kTransientMax;
  if (!HasData(io.what) || io.segs == nullptr || io.result < 0 || io.result >= io.length) {
    return false;
  }
  uint64_t done = AlignDown(static_cast<uint64_t>(io.result), medium_->limits().block);
  if (done == 0) return false;
  stats_.continued.Add(1);
  io.offset += done;
  io.length -= static_cast<uint32_t>(done);
  auto* segment = const_cast<Segment*>(io.segs);  // the slot's own vector
  while (done >= segment->iov_len) {
    done -= segment->iov_len;
    ++segment;
    --io.seg_count;
  }
  segment->iov_base = static_cast<char*>(segment->iov_base) + done;
  segment->iov_len -= done;
  io.segs = segment;
  return true;
}

void Disk::EndSlot(Slot& slot) noexcept {
  const MediumIo& io = slot.io;
  Bio& run = *slot.run;
  const bool expired = slot.expired;
  const bool short_transfer = HasData(io.what) && io.result >= 0 && io.result < io.length;
  const bool exhausted = short_transfer || IsTransient(io.result);
  const int error = exhausted ? EIO : io.result < 0 ? static_cast<int>(-io.result) : 0;
  if (io.loan != nullptr) {
    run.segs = io.loan->segs();
    run.seg_count = static_cast<uint16_t>(io.loan->count);
    run.flags |= kLent;
  }
  // Before anything is sent again: the error may have been another write's (promise 2).
  if (io.result < 0 && MayConsumeErrors(run)) flusher_.Fail();
  LetGo(slot);
  FreeSlot(slot);
  expired ? FailRun(run) : EndRun(run, error);
}

// A FUA write that fails on a page-cache medium may have been told of another write's failure.
bool Disk::MayConsumeErrors(const Bio& bio) const noexcept {
  return medium_->limits().page_cache && bio.op == Op::kWrite && IsFua(bio);
}

void Disk::FreeSlot(Slot& slot) noexcept {
  stats_.at_device.Sub(1);
  stats_.riding.Sub(slot.requests);
  flights_.Erase(slot);
  in_flight_.erase(in_flight_.iterator_to(slot));
  slot.run = nullptr;
  if (serving_ <= depth()) return free_.push_front(slot);
  --serving_;
  spare_.push_front(slot);
}

void Disk::EndRun(Bio& run, int error) noexcept {
  if ((run.flags & kCarrier) == 0) {
    const bool unsupported = error == EOPNOTSUPP && (run.flags & kFastZero) == 0;
    if (unsupported && run.op == Op::kZero) return GoSlow(run);
    const bool hint = run.op == Op::kTrim || run.op == Op::kCache;
    return EndOperation(run, unsupported && hint ? 0 : error);
  }
  Carrier& carrier = CarrierOf(run);
  if (error != 0) {
    stats_.retried.Add(carrier.rider_count);
    return SendSingly(carrier, Where::kDevice);
  }
  while (!carrier.riders.empty()) {
    Bio& rider = carrier.riders.front();
    carrier.riders.pop_front();
    EndOperation(rider, 0);
  }
  gather_.Free(carrier);
}

void Disk::SendSingly(Carrier& carrier, Where where) noexcept {
  home_->AtDispatch(dispatch_);
  while (!carrier.riders.empty()) {
    Bio& rider = carrier.riders.front();
    carrier.riders.pop_front();
    rider.where = where;
    next_.push_back(rider);
  }
  gather_.Free(carrier);
}

// The medium is done with it; FUA may still ask for a flush.
void Disk::EndOperation(Bio& bio, int error) noexcept {
  if (!IsFua(bio)) return EndBio(bio, error);
  const MediumLimits& medium = medium_->limits();
  if (error != 0 && MayConsumeErrors(bio)) flusher_.Fail();
  if (error != 0 || flusher_.failed()) return EndBio(bio, error != 0 ? error : EIO);
  const bool stable = !medium.volatile_cache || (bio.op == Op::kWrite && medium.native_fua);
  if (stable) return EndBio(bio, 0);
  home_->AtDispatch(dispatch_);
  flusher_.Add(bio);
}

void Disk::EndBio(Bio& bio, int error) noexcept {
  home_->AtDispatch(dispatch_);
  stats_.stages.End(bio, Stage::kDevice, home_->now_ns());
  --outstanding_[bio.flow];
  if (IsWriteType(bio.op)) {
    guard_.Leave(bio, [this](Bio& next) { Plug(next); });
  }
  const bool expired = bio.error != 0;  // nothing else sets it here
  if (error != 0 && error != ECANCELED && !expired) LogError(bio, error);
  bio.resid = error != 0 ? bio.length : 0;
  Done(bio, error);
}

void Disk::LogError(const Bio& bio, int error) noexcept {
  stats_.errors.Add(error);
  if (logged_ns_ != 0 && home_->now_ns() - logged_ns_ < kSecond) return;
  logged_ns_ = home_->now_ns();
  Log(LogLevel::kError, absl::StrCat("disk ", options_.name, ": ", OpName(bio.op), " at ",
                                     bio.offset, "+", bio.length, ": ", strerror(error)));
}

}  // namespace sluice
