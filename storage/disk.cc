// SPDX-License-Identifier: Apache-2.0
#include "storage/disk.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/check.h"
#include "core/units.h"

namespace sluice {
namespace {

// Window (d): a run shorter than this waits for the run in flight that it touches, if its client
// (the flow) has so many requests here. Eight gather less where the drive is fast: qemu-img bench
// at depth 32 needs 0.50 to 0.61 carriers a write with eight, 0.44 to 0.53 with four.
constexpr uint32_t kHoldBytesMax = 64 * kKiB;
constexpr uint32_t kHoldRequestsMin = 4;
constexpr size_t kFlows = size_t{1} << 16;  // Bio::flow

// Segments whose memory is contiguous become one: a whole run often, since payloads received
// together lie together. Returns how many are left.
uint32_t JoinSegments(Segment* segs, uint32_t count) {
  if (count < 2) return count;
  uint32_t last = 0;
  for (uint32_t i = 1; i < count; ++i) {
    if (static_cast<char*>(segs[last].iov_base) + segs[last].iov_len == segs[i].iov_base) {
      segs[last].iov_len += segs[i].iov_len;
    } else {
      segs[++last] = segs[i];
    }
  }
  return last + 1;
}

uint32_t RequestsOf(const Bio& run) {
  if ((run.flags & kCarrier) == 0) return 1;
  return reinterpret_cast<const Carrier&>(run).rider_count;
}

}  // namespace

Limits Disk::LimitsOf(const DiskOptions& options, const MediumLimits& medium) {
  Limits limits;
  limits.block = kSector;
  limits.logical_block = options.logical_block != 0 ? options.logical_block : medium.block;
  limits.size = AlignDown(medium.size, std::max(kSector, limits.logical_block));
  limits.preferred = std::max({medium.physical_block, limits.logical_block, uint32_t{4096}});
  // What does not lie on whole blocks cannot be lent.
  if (medium.block <= limits.block) limits.lend_bytes_max = medium.lend_bytes_max;
  limits.read_only = medium.read_only || options.read_only;
  limits.rotational = medium.rotational;
  limits.can_trim = medium.can_trim;
  limits.can_fast_zero = medium.can_fast_zero;
  return limits;
}

Disk::Disk(const DiskOptions& options, std::unique_ptr<Medium> medium, std::unique_ptr<Bufq> bufq,
           Reactor& home)
    : options_(options),
      home_(&home),
      home_id_(home.id()),
      medium_(std::move(medium)),
      limits_(LimitsOf(options, medium_->limits())),
      depth_(std::clamp(options.depth != 0 ? options.depth : medium_->limits().depth, uint32_t{1},
                        kDepthMax)),
      bufq_(std::move(bufq)),
      strategy_name_(bufq_->strategy_name().data()),
      guard_(medium_->limits().block, options.bios_max),
      gather_({.bytes_max = std::min(medium_->limits().transfer_max, kMaxTransfer),
               .segments_max = medium_->limits().segments_max,
               .on = options.gather},
              options.bios_max),
      flusher_(
          *medium_, stats_.device_ops[static_cast<int>(Op::kFlush)],
          [](Bio& bio, int error, void* disk) noexcept {
            static_cast<Disk*>(disk)->EndBio(bio, error);
          },
          this),
      slow_(
          *medium_, stats_.device_ops, dispatch_,
          [](Bio& bio, int error, void* disk) noexcept {
            static_cast<Disk*>(disk)->EndOperation(bio, error);
          },
          this),
      flows_(kFlows * sizeof(uint32_t)),
      outstanding_(reinterpret_cast<uint32_t*>(flows_.base())),
      slots_(depth()),
      serving_(depth()) {
  SLUICE_CHECK(IsPowerOfTwo(limits_.logical_block) &&
               medium_->limits().segments_max >= kListSegments);
  vectors_.emplace_back(size_t{depth()} * medium_->limits().segments_max * sizeof(Segment));
  auto* vectors = reinterpret_cast<Segment*>(vectors_.back().base());
  for (Slot& slot : slots_) {
    AddSlot(slot, vectors);
    vectors += medium_->limits().segments_max;
  }
  dispatch_.context = this;
  dispatch_.run = [](TurnTask& task) noexcept { static_cast<Disk*>(task.context)->Dispatch(); };
  timeout_.context = this;
  timeout_.run = [](Timer& timer) noexcept { static_cast<Disk*>(timer.context)->CheckTimeouts(); };
}

void Disk::AddSlot(Slot& slot, Segment* vector) noexcept {
  slot.disk = this;
  slot.vector = vector;
  slot.io.context = &slot;
  slot.io.done = [](MediumIo& io) noexcept {
    Slot& done = *static_cast<Slot*>(io.context);
    Disk& disk = *done.disk;
    disk.OnSlotDone(done);
    disk.home_->AtDispatch(disk.dispatch_);
  };
  free_.push_back(slot);
}

Disk::~Disk() {
  SLUICE_CHECK(idle());
  free_.clear();
  spare_.clear();
  home_->Disarm(timeout_);
  home_->Unlist(dispatch_);
}

bool Disk::idle() const noexcept {
  return guard_.size() == 0 && !gather_.has_plugged() && bufq_->empty() && in_flight_.empty() &&
         stalled_.empty() && deferred_ == nullptr && next_.empty() && flusher_.idle() &&
         slow_.idle();
}

// --- going down ---

void Disk::Strategy(Bio& bio) noexcept {
  SLUICE_CHECK(InRange(bio.offset, bio.length, limits_.size));
  SLUICE_CHECK(IsAligned(bio.offset | bio.length, limits_.block));
  if (closed_ && bio.op != Op::kFlush) return Done(bio, ESHUTDOWN);
  stats_.requests[static_cast<int>(bio.op)].Add(1);
  stats_.bytes[static_cast<int>(bio.op)].Add(bio.length);
  home_->AtDispatch(dispatch_);
  if (options_.io_timeout_ns != 0 && !timeout_.armed()) {
    home_->Arm(timeout_, home_->now_ns() + options_.io_timeout_ns / 4);
  }
  if (bio.op == Op::kFlush) {
    CollectRuns();
    gather_.Cut();
    ++outstanding_[bio.flow];
    return flusher_.Add(bio);
  }
  if (IsWriteType(bio.op)) {
    if (limits_.read_only) return Refuse(bio, EPERM);
    if ((bio.flags & kFua) != 0 && flusher_.failed()) return Refuse(bio, EIO);
    if ((bio.flags & kFastZero) != 0 && !limits_.can_fast_zero) return Refuse(bio, ENOTSUP);
  }
  ++outstanding_[bio.flow];
  if (IsWriteType(bio.op) && !guard_.Enter(bio)) return;
  Plug(bio);
}

void Disk::Refuse(Bio& bio, int error) noexcept {
  stats_.refused.Add(1);
  Done(bio, error);
}

void Disk::Plug(Bio& bio) noexcept {
  stats_.stages.End(bio, Stage::kQueue, home_->now_ns());
  gather_.Plug(bio);
}

void Disk::Dispatch() noexcept {
  CollectRuns();
  Pump();
  slow_.Run();
  flusher_.Run();
  // Refused with nothing of ours under way: no completion will come to try again.
  const bool refused =
      deferred_ != nullptr || !stalled_.empty() || slow_.refused() || flusher_.refused();
  const bool under_way = !in_flight_.empty() || slow_.in_flight() || flusher_.in_flight();
  if (refused && !under_way) home_->AtDispatch(dispatch_);
}

void Disk::CollectRuns() noexcept {
  while (Bio* run = gather_.Collect()) Route(*run);
}

void Disk::Route(Bio& run) noexcept {
  if (Join(run)) return;
  if (Slot* slot = HoldFor(run)) return Hold(run, *slot);
  const bool queue = !bufq_->empty() || !next_.empty() || deferred_ != nullptr ||
                     !stalled_.empty() || free_.empty();
  if (queue) {
    bufq_->Put(gather_.BeginWait(run));
  } else if (!StartRun(run)) {
    deferred_ = &run;
  }
}

// Adds a run to one that waits in the bufq, or that is held.
bool Disk::Join(Bio& run) noexcept {
  Carrier* waiting = nullptr;
  const Gather::Met met = gather_.FindNeighbour(run, waiting);
  if (met == Gather::Met::kNone) return false;
  if (met == Gather::Met::kBack) {
    gather_.AppendTo(run, *waiting);
  } else {
    const bool queued = waiting->bio.where == Where::kBufq;
    if (queued) bufq_->Cancel(waiting->bio);
    gather_.PrependTo(run, *waiting);
    if (queued) bufq_->Put(waiting->bio);
  }
  if (waiting->held_by != nullptr && waiting->bio.length >= kHoldBytesMax) {
    LetGo(*static_cast<Slot*>(waiting->held_by));
  }
  return true;
}

// The slot in flight that `run` should wait for, or null: a short run of a client that keeps the
// disk busy goes with its neighbours.
Disk::Slot* Disk::HoldFor(const Bio& run) noexcept {
  if (flights_.empty() || outstanding_[run.flow] < kHoldRequestsMin) return nullptr;
  if (run.length >= kHoldBytesMax || !gather_.Gathers(run)) return nullptr;
  auto* slot = static_cast<Slot*>(
      flights_.FindNeighbour(Gather::ClassOf(run), run.offset, run.offset + run.length));
  return slot != nullptr && slot->held == nullptr && !slot->expired ? slot : nullptr;
}

void Disk::Hold(Bio& run, Slot& slot) noexcept {
  Carrier& carrier = CarrierOf(gather_.BeginWait(run));
  carrier.bio.where = Where::kGather;
  carrier.held_by = &slot;
  slot.held = &carrier;
  stats_.held.Add(1);
}

// What is held for the slot waits in the bufq like everything else.
void Disk::LetGo(Slot& slot) noexcept {
  if (slot.held == nullptr) return;
  Carrier& carrier = *std::exchange(slot.held, nullptr);
  carrier.held_by = nullptr;
  bufq_->Put(carrier.bio);
  home_->AtDispatch(dispatch_);
}

// dk_start: the one that was refused first, then the bufq's choice, until the disk is at its depth
// or the medium is full.
void Disk::Pump() noexcept {
  if (!RestartStalled()) return;
  while (!free_.empty()) {
    Bio* run = deferred_;
    deferred_ = nullptr;
    if (run == nullptr && !next_.empty()) {
      run = &next_.front();
      next_.pop_front();
    }
    if (run == nullptr) {
      run = bufq_->Get(home_->now_ns());
      if (run == nullptr) return;
      run = &gather_.EndWait(*run);
    }
    if (!StartRun(*run)) {
      deferred_ = run;
      return;
    }
  }
}

// False: the medium is full.
bool Disk::RestartStalled() noexcept {
  while (!stalled_.empty()) {
    Slot& slot = stalled_.front();
    stalled_.pop_front();
    in_flight_.push_back(slot);
    if (StartSlot(slot)) continue;
    in_flight_.erase(in_flight_.iterator_to(slot));
    stalled_.push_front(slot);
    return false;
  }
  return true;
}

// False: the medium is full, and the run is still the caller's.
bool Disk::StartRun(Bio& run) noexcept {
  Slot& slot = free_.front();
  Fill(slot, run);
  if (run.op == Op::kTrim && (slot.io.length == 0 || !limits_.can_trim)) {
    EndRun(run, 0);
    return true;
  }
  if (IsSlow(run, slot.io)) {
    GoSlow(run);
    return true;
  }
  free_.pop_front();
  in_flight_.push_back(slot);
  slot.run = &run;
  if (StartSlot(slot)) return true;
  in_flight_.erase(in_flight_.iterator_to(slot));
  if (slot.started_ns != 0) {  // a part of it is done
    stalled_.push_back(slot);
    return true;
  }
  slot.run = nullptr;
  free_.push_front(slot);
  return false;
}

bool Disk::IsSlow(const Bio& run, const MediumIo& io) const noexcept {
  if (run.op == Op::kZero && !medium_->limits().can_zero) return true;
  return run.op != Op::kCache && !SlowPath::Fits(medium_->limits(), io);
}

// What the device cannot take as it lies: riders go one by one, so that those that fit still go
// straight.
void Disk::GoSlow(Bio& run) noexcept {
  home_->AtDispatch(dispatch_);
  if ((run.flags & kCarrier) != 0) return SendSingly(CarrierOf(run), Where::kSubmitter);
  stats_.slow.Add(1);
  slow_.Add(run);
}

void Disk::Fill(Slot& slot, Bio& run) noexcept {
  const MediumLimits& medium = medium_->limits();
  slot.run_class = Gather::ClassOf(run);
  slot.begin = run.offset;
  slot.end = run.offset + run.length;
  slot.requests = RequestsOf(run);
  slot.started_ns = 0;
  slot.expired = false;
  slot.transient = 0;
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
  uint32_t count = 0;
  ForEachRider(run, [&](Bio& bio) {
    if (!HasData(bio.op) || (bio.flags & kBorrow) != 0) return;
    count += static_cast<uint32_t>(
        SliceSegments(bio, 0, bio.length, slot.vector + count, medium.segments_max - count));
  });
  io.segs = count > 0 ? slot.vector : nullptr;
  io.seg_count = JoinSegments(slot.vector, count);
}

// Starts the slot's operation, and goes on with it as long as the medium ends it at once. False:
// the medium is full; the rest of the operation stands in the slot.
bool Disk::StartSlot(Slot& slot) noexcept {
  for (;;) {
    slot.io.result = 0;
    const Started started = medium_->Start(slot.io);
    if (started == Started::kFull) return false;
    stats_.device_ops[static_cast<int>(slot.io.what)].Add(1);
    if (slot.started_ns == 0) CountStart(slot);
    if (started == Started::kPending) {
      if (!flights_.Holds(slot)) flights_.Insert(slot);
      return true;
    }
    if (PrepareRest(slot)) continue;
    EndSlot(slot);
    return true;
  }
}

void Disk::CountStart(Slot& slot) noexcept {
  slot.started_ns = home_->now_ns();
  stats_.at_device.Add(1);
  stats_.riding.Add(slot.requests);
  if (slot.run->where == Where::kDevice) return;  // it was there before, in a carrier
  slot.run->where = Where::kDevice;
  stats_.runs.Add(1);
  if (slot.requests > 1) {
    stats_.carriers.Add(1);
    stats_.riders.Add(slot.requests);
    stats_.riders_per_carrier.Add(slot.requests);
  }
  ForEachRider(*slot.run,
               [&](Bio& bio) { stats_.stages.End(bio, Stage::kDispatch, slot.started_ns); });
}

}  // namespace sluice
