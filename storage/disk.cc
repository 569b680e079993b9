// SPDX-License-Identifier: Apache-2.0
#include "storage/disk.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "core/check.h"
#include "core/log.h"
#include "core/units.h"

namespace sluice {
namespace {

// Window (d): a run shorter than this waits for the run in flight that it continues, if the stream
// has so many requests outstanding.
constexpr uint32_t kHoldBytesMax = 64 * kKiB;
constexpr uint32_t kHoldRequestsMin = 8;

constexpr uint32_t kDepthMax = 1024;

}  // namespace

Limits Disk::LimitsOf(const DiskOptions& options, const MediumLimits& medium) {
  Limits limits;
  limits.size = AlignDown(medium.size, kSector);
  limits.block = kSector;
  limits.logical_block = options.logical_block != 0 ? options.logical_block : medium.block;
  limits.preferred = std::max({medium.physical_block, limits.logical_block, uint32_t{4096}});
  limits.lend_bytes_max = medium.lend_bytes_max;
  limits.read_only = medium.read_only;
  limits.rotational = medium.rotational;
  limits.can_trim = medium.can_trim;
  limits.can_fast_zero = medium.can_fast_zero;
  return limits;
}

Disk::Disk(const DiskOptions& options, std::unique_ptr<Medium> medium, std::unique_ptr<Bufq> bufq,
           Reactor& home)
    : options_(options),
      home_(home),
      medium_(std::move(medium)),
      limits_(LimitsOf(options, medium_->limits())),
      depth_(std::clamp(options.depth != 0 ? options.depth : medium_->limits().depth, uint32_t{1},
                        kDepthMax)),
      bufq_(std::move(bufq)),
      guard_(medium_->limits().block, options.bios_max),
      gather_({.bytes_max = std::min(medium_->limits().transfer_max, kMaxTransfer),
               .segments_max = medium_->limits().segments_max,
               .on = options.gather},
              options.bios_max),
      flusher_(
          *medium_,
          [](Bio& bio, int error, void* disk) noexcept {
            static_cast<Disk*>(disk)->EndBio(bio, error);
          },
          this),
      slow_(
          *medium_,
          [](Bio& bio, int error, void* disk) noexcept {
            static_cast<Disk*>(disk)->EndOperation(bio, error);
          },
          this),
      vectors_(size_t{depth_} * medium_->limits().segments_max * sizeof(Segment)),
      slots_(depth_) {
  SLUICE_CHECK(IsPowerOfTwo(limits_.logical_block) &&
               medium_->limits().segments_max >= kListSegments);
  auto* vectors = reinterpret_cast<Segment*>(vectors_.base());
  for (Slot& slot : slots_) {
    slot.disk = this;
    slot.vector = vectors;
    vectors += medium_->limits().segments_max;
    slot.io.context = &slot;
    slot.io.done = [](MediumIo& io) noexcept {
      Slot& done = *static_cast<Slot*>(io.context);
      Disk& disk = *done.disk;
      disk.OnSlotDone(done);
      disk.home_.AtDispatch(disk.dispatch_);
    };
    free_.push_back(slot);
  }
  dispatch_.context = this;
  dispatch_.run = [](TurnTask& task) noexcept { static_cast<Disk*>(task.context)->Dispatch(); };
  timeout_.context = this;
  timeout_.run = [](Timer& timer) noexcept { static_cast<Disk*>(timer.context)->CheckTimeouts(); };
}

Disk::~Disk() {
  SLUICE_CHECK(idle());
  free_.clear();
  home_.Disarm(timeout_);
  home_.Unlist(dispatch_);
}

bool Disk::idle() const noexcept {
  return guard_.size() == 0 && !gather_.has_plugged() && bufq_->empty() && in_flight_.empty() &&
         deferred_ == nullptr && next_.empty() && flusher_.idle() && slow_.idle();
}

// --- going down ---

void Disk::Strategy(Bio& bio) noexcept {
  SLUICE_CHECK(InRange(bio.offset, bio.length, limits_.size));
  stats_.requests[static_cast<int>(bio.op)].Add(1);
  stats_.bytes[static_cast<int>(bio.op)].Add(bio.length);
  home_.AtDispatch(dispatch_);
  if (options_.io_timeout_ns != 0 && !timeout_.armed()) {
    home_.Arm(timeout_, home_.now_ns() + options_.io_timeout_ns / 4);
  }
  if (bio.op == Op::kFlush) {
    CollectRuns();
    gather_.Cut();
    return flusher_.Add(bio);
  }
  if (IsWriteType(bio.op)) {
    if (limits_.read_only) return Done(bio, EPERM);
    if ((bio.flags & kFua) != 0 && flusher_.failed()) return Done(bio, EIO);
    if (!guard_.Enter(bio)) return;
  }
  Plug(bio);
}

void Disk::Plug(Bio& bio) noexcept {
  stats_.stages.End(bio, Stage::kQueue, home_.now_ns());
  gather_.Plug(bio);
}

void Disk::Dispatch() noexcept {
  CollectRuns();
  Pump();
  slow_.Run();
  flusher_.Run();
}

void Disk::CollectRuns() noexcept {
  while (Bio* run = gather_.Collect()) Route(*run);
}

void Disk::Route(Bio& run) noexcept {
  if (Join(run)) return;
  if (Slot* before = HoldBehind(run)) {
    before->held = &gather_.BeginWait(run);
    before->held->where = Where::kGather;
    stats_.held.Add(1);
    return;
  }
  const bool queue = !bufq_->empty() || !next_.empty() || deferred_ != nullptr || free_.empty();
  if (queue) {
    bufq_->Put(gather_.BeginWait(run));
  } else if (!StartRun(run)) {
    deferred_ = &run;
  }
}

// Adds a run to one that waits in the bufq, or that is held.
bool Disk::Join(Bio& run) noexcept {
  Carrier* waiting = nullptr;
  switch (gather_.FindNeighbour(run, waiting)) {
    case Gather::Met::kNone:
      return false;
    case Gather::Met::kBack:
      gather_.AppendTo(run, *waiting);
      return true;
    case Gather::Met::kFront: {
      const bool queued = waiting->bio.where == Where::kBufq;
      if (queued) bufq_->Cancel(waiting->bio);
      gather_.PrependTo(run, *waiting);
      if (queued) bufq_->Put(waiting->bio);
      return true;
    }
  }
  return false;
}

// The slot in flight that `run` should wait for, or null. The stream's requests are counted
// backwards from the run through what is in flight, as far as it is contiguous.
Disk::Slot* Disk::HoldBehind(const Bio& run) noexcept {
  if (!gather_.on() || run.length >= kHoldBytesMax || (run.flags & (kNoGather | kBorrow)) != 0)
    return nullptr;
  const uint32_t run_class = Gather::ClassOf(run);
  Slot* before = nullptr;
  uint32_t requests = 1;
  uint64_t at = run.offset;
  for (uint32_t steps = 0; steps < kHoldRequestsMin; ++steps) {
    auto it = by_end_.find(EndKey{run_class, at});
    if (it == by_end_.end()) return nullptr;
    if (before == nullptr) before = &*it;
    requests += it->requests;
    if (requests >= kHoldRequestsMin)
      return before->held == nullptr && !before->expired ? before : nullptr;
    at = it->begin;
  }
  return nullptr;
}

// dk_start: the one that was refused first, then the bufq's choice, until the disk is at its depth
// or the medium is full.
void Disk::Pump() noexcept {
  while (!stalled_.empty()) {
    Slot& slot = stalled_.front();
    stalled_.pop_front();
    in_flight_.push_back(slot);
    if (!StartSlot(slot)) {
      in_flight_.pop_back();
      return stalled_.push_front(slot);
    }
  }
  while (!free_.empty()) {
    Bio* run = deferred_;
    deferred_ = nullptr;
    if (run == nullptr && !next_.empty()) {
      run = &next_.front();
      next_.pop_front();
    }
    if (run == nullptr) {
      run = bufq_->Get(home_.now_ns());
      if (run == nullptr) return;
      run = &gather_.EndWait(*run);
    }
    if (!StartRun(*run)) {
      deferred_ = run;
      return;
    }
  }
}

// False: the medium is full, and the run is still the caller's.
bool Disk::StartRun(Bio& run) noexcept {
  Slot& slot = free_.front();
  Fill(slot, run);
  if (run.op == Op::kTrim && (slot.io.length == 0 || !limits_.can_trim)) {
    EndRun(run, 0);
    return true;
  }
  if (run.op != Op::kCache && !SlowPath::Fits(medium_->limits(), slot.io)) {
    GoSlow(run);
    return true;
  }
  free_.pop_front();
  in_flight_.push_back(slot);
  slot.run = &run;
  if (!StartSlot(slot)) {
    in_flight_.pop_back();
    slot.run = nullptr;
    free_.push_front(slot);
    return false;
  }
  return true;
}

// What the device cannot take as it lies: riders go one by one, so that those that fit still go
// straight.
void Disk::GoSlow(Bio& run) noexcept {
  home_.AtDispatch(dispatch_);
  if ((run.flags & kCarrier) != 0) return RetryRiders(CarrierOf(run));
  stats_.slow.Add(1);
  slow_.Add(run);
}

void Disk::Fill(Slot& slot, Bio& run) noexcept {
  const MediumLimits& medium = medium_->limits();
  slot.run_class = Gather::ClassOf(run);
  slot.begin = run.offset;
  slot.end = run.offset + run.length;
  slot.started_ns = 0;
  slot.expired = false;
  MediumIo& io = slot.io;
  io.what = run.op;
  io.offset = run.offset;
  io.length = run.length;
  io.loan = nullptr;
  io.result = 0;
  io.flags = run.flags & (kNoHole | kFastZero | kBorrow);
  if (run.op == Op::kWrite && medium.native_fua) io.flags |= run.flags & kFua;
  if (run.op == Op::kTrim) {
    // A hint: only the whole blocks inside it can be given back.
    const uint64_t begin = AlignUp(slot.begin, medium.block);
    io.offset = begin;
    io.length =
        begin < slot.end ? static_cast<uint32_t>(AlignDown(slot.end, medium.block) - begin) : 0;
  }
  slot.requests = 0;
  uint32_t count = 0;
  ForEachRider(run, [&](Bio& bio) {
    ++slot.requests;
    if (!HasData(bio.op) || (bio.flags & kBorrow) != 0) return;
    count += static_cast<uint32_t>(
        SliceSegments(bio, 0, bio.length, slot.vector + count, medium.segments_max - count));
  });
  io.segs = count > 0 ? slot.vector : nullptr;
  io.seg_count = count;
}

// False: the medium is full; the slot is as before.
bool Disk::StartSlot(Slot& slot) noexcept {
  slot.io.result = 0;
  const Started started = medium_->Start(slot.io);
  if (started == Started::kFull) return false;
  stats_.device_ops[static_cast<int>(slot.io.what)].Add(1);
  if (slot.started_ns == 0) {
    slot.started_ns = home_.now_ns();
    slot.run->where = Where::kDevice;
    stats_.runs.Add(1);
    if (slot.requests > 1) {
      stats_.carriers.Add(1);
      stats_.riders.Add(slot.requests);
    }
    ForEachRider(*slot.run,
                 [&](Bio& bio) { stats_.stages.End(bio, Stage::kDispatch, slot.started_ns); });
    if (started == Started::kPending) by_end_.insert(slot);
  }
  if (started == Started::kDone) OnSlotDone(slot);
  return true;
}

// --- coming back ---

void Disk::OnSlotDone(Slot& slot) noexcept {
  const MediumIo& io = slot.io;
  const bool short_transfer = HasData(io.what) && io.result >= 0 && io.result < io.length;
  Bio& run = *slot.run;
  if (short_transfer && (run.flags & kCarrier) == 0 && Continue(slot)) return;
  const int error = io.result < 0 ? static_cast<int>(-io.result) : short_transfer ? EIO : 0;
  if (io.loan != nullptr) {
    run.segs = io.loan->segs();
    run.seg_count = static_cast<uint16_t>(io.loan->count);
    run.flags |= kLent;
  }
  Bio* held = slot.held;
  FreeSlot(slot);
  EndRun(run, error);
  if (held != nullptr) ReleaseHeld(*held);
}

// Sends what is left of a short transfer. False if nothing of it was done.
bool Disk::Continue(Slot& slot) noexcept {
  MediumIo& io = slot.io;
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
  if (!StartSlot(slot)) {
    in_flight_.erase(in_flight_.iterator_to(slot));
    stalled_.push_back(slot);
  }
  return true;
}

void Disk::FreeSlot(Slot& slot) noexcept {
  if (slot.by_end.is_linked()) by_end_.erase(by_end_.iterator_to(slot));
  in_flight_.erase(in_flight_.iterator_to(slot));
  slot.run = nullptr;
  slot.held = nullptr;
  free_.push_front(slot);
}

void Disk::ReleaseHeld(Bio& held) noexcept {
  home_.AtDispatch(dispatch_);
  if (bufq_->empty()) {
    next_.push_back(gather_.EndWait(held));
  } else {
    bufq_->Put(held);
  }
}

void Disk::EndRun(Bio& run, int error) noexcept {
  if ((run.flags & kCarrier) == 0) {
    if (error == EOPNOTSUPP && run.op == Op::kZero && (run.flags & kFastZero) == 0)
      return GoSlow(run);
    if (error == EOPNOTSUPP && run.op == Op::kTrim) error = 0;
    return EndOperation(run, error);
  }
  Carrier& carrier = CarrierOf(run);
  if (error != 0) return RetryRiders(carrier);
  while (!carrier.riders.empty()) {
    Bio& rider = carrier.riders.front();
    carrier.riders.pop_front();
    EndOperation(rider, 0);
  }
  gather_.Free(carrier);
}

void Disk::RetryRiders(Carrier& carrier) noexcept {
  home_.AtDispatch(dispatch_);
  while (!carrier.riders.empty()) {
    Bio& rider = carrier.riders.front();
    carrier.riders.pop_front();
    rider.where = Where::kDevice;
    stats_.retried.Add(1);
    next_.push_back(rider);
  }
  gather_.Free(carrier);
}

// The medium is done with it; FUA may still ask for a flush.
void Disk::EndOperation(Bio& bio, int error) noexcept {
  const MediumLimits& medium = medium_->limits();
  const bool fua = (bio.flags & kFua) != 0 && IsWriteType(bio.op);
  if (fua && error != 0 && medium.page_cache) flusher_.Fail();
  const bool stable = !medium.volatile_cache || (bio.op == Op::kWrite && medium.native_fua);
  if (fua && error == 0 && !stable) {
    home_.AtDispatch(dispatch_);
    return flusher_.Add(bio);
  }
  EndBio(bio, error);
}

void Disk::EndBio(Bio& bio, int error) noexcept {
  home_.AtDispatch(dispatch_);
  stats_.stages.End(bio, Stage::kDevice, home_.now_ns());
  if (IsWriteType(bio.op)) {
    guard_.Leave(bio, [this](Bio& next) { Plug(next); });
  }
  if (error != 0 && error != ECANCELED) LogError(bio, error);
  bio.resid = error != 0 ? bio.length : 0;
  Done(bio, error);
}

void Disk::LogError(const Bio& bio, int error) noexcept {
  stats_.errors.Add(1);
  if (logged_ns_ != 0 && home_.now_ns() - logged_ns_ < kSecond) return;
  logged_ns_ = home_.now_ns();
  Log(LogLevel::kError, absl::StrCat("disk ", options_.name, ": ", OpName(bio.op), " at ",
                                     bio.offset, "+", bio.length, ": ", strerror(error)));
}

// --- taking back ---

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

// A waiting carrier that loses a rider gives the others back as singles.
void Disk::CancelRider(Bio& bio) noexcept {
  Carrier* carrier = gather_.FindCarrierOf(bio);
  if (carrier == nullptr) return;
  if (carrier->bio.where == Where::kBufq) {
    bufq_->Cancel(carrier->bio);
  } else {
    for (Slot& slot : in_flight_) {
      if (slot.held == &carrier->bio) slot.held = nullptr;
    }
  }
  gather_.Dissolve(*carrier);
  gather_.Unplug(bio);
  EndBio(bio, ECANCELED);
}

std::unique_ptr<Bufq> Disk::SwapBufq(std::unique_ptr<Bufq> bufq) noexcept {
  Bufq::Move(*bufq_, *bufq, home_.now_ns());
  bufq_.swap(bufq);
  return bufq;
}

// --- what hangs ---

void Disk::CheckTimeouts() noexcept {
  const uint64_t now_ns = home_.now_ns();
  const uint64_t before_ns = now_ns > options_.io_timeout_ns ? now_ns - options_.io_timeout_ns : 0;
  if (ExpireSlots(before_ns)) FailQueued();
  if (slow_.current() != nullptr && slow_.started_ns() < before_ns) Expire(*slow_.current(), EIO);
  if (flusher_.started_ns() != 0 && flusher_.started_ns() < before_ns) {
    flusher_.Fail();
    flusher_.ForEach([](Bio& bio) { Expire(bio, EIO); });
  }
  for (Bio* stuck = nullptr;; stuck = nullptr) {
    guard_.ForEachWaiting([&](Bio& bio) {
      if (stuck == nullptr && bio.born_ns < before_ns) stuck = &bio;
    });
    if (stuck == nullptr) break;
    EndBio(*stuck, EIO);
  }
  if (!idle()) home_.Arm(timeout_, now_ns + options_.io_timeout_ns / 4);
}

// Answers the requests of slots that have waited too long. True if no slot is left that works.
bool Disk::ExpireSlots(uint64_t before_ns) noexcept {
  uint32_t hung = 0;
  for (Slot& slot : in_flight_) {
    if (slot.started_ns >= before_ns) continue;
    ++hung;
    if (slot.expired) continue;
    slot.expired = true;
    LogError(*slot.run, ETIMEDOUT);
    ForEachRider(*slot.run, [](Bio& bio) { Expire(bio, EIO); });
  }
  return hung == depth_;
}

void Disk::FailQueued() noexcept {
  CollectRuns();
  for (Slot& slot : in_flight_) {
    if (slot.held == nullptr) continue;
    next_.push_back(gather_.EndWait(*slot.held));
    slot.held = nullptr;
  }
  if (deferred_ != nullptr) next_.push_back(*deferred_);
  deferred_ = nullptr;
  bufq_->Drain(home_.now_ns(), [this](Bio& run) { next_.push_back(gather_.EndWait(run)); });
  while (!next_.empty()) {
    Bio& run = next_.front();
    next_.pop_front();
    FailRun(run);
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
