// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/faulty_medium.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "core/units.h"

namespace sluice::sim {
namespace {

// Calls visit(char* memory, uint32_t at, size_t size) for each stretch of memory of [at, at + size)
// of an operation's data.
template <typename F>
void ForEachStretch(const MediumIo& io, uint64_t at, uint64_t size, F&& visit) {
  uint64_t start = 0;
  for (uint32_t i = 0; i < io.seg_count; ++i) {
    const Segment& segment = io.segs[i];
    const uint64_t begin = std::max(at, start);
    const uint64_t end = std::min(at + size, start + segment.iov_len);
    if (begin < end) {
      visit(static_cast<char*>(segment.iov_base) + (begin - start), begin - at, end - begin);
    }
    start += segment.iov_len;
  }
}

}  // namespace

FaultyMedium::FaultyMedium(ManualPoller& poller, const FaultyOptions& options,
                           const std::string& image)
    : poller_(poller), options_(options), rng_(options.seed), now_(image) {
  const MediumLimits& limits = options_.limits;
  SLUICE_CHECK(IsPowerOfTwo(limits.block) && IsAligned(limits.size, limits.block));
  SLUICE_CHECK(image.size() <= limits.size && limits.lend_bytes_max == 0);
  SLUICE_CHECK(options.ticks_min >= 1 && options.ticks_min <= options.ticks_max);
  now_.resize(limits.size);
  durable_ = now_;
  allocated_.resize(limits.size / limits.block);
  std::fill_n(allocated_.begin(), AlignUp(image.size(), limits.block) / limits.block, true);
}

FaultyMedium::~FaultyMedium() { SLUICE_CHECK(queries_.empty()); }

void FaultyMedium::CheckContract(const MediumIo& io) const {
  const MediumLimits& limits = options_.limits;
  SLUICE_CHECK(io.done != nullptr && io.loan == nullptr && !io.op.ready.is_linked());
  SLUICE_CHECK(!IsWriteType(io.what) || !limits.read_only);
  SLUICE_CHECK((io.flags & kBorrow) == 0);
  SLUICE_CHECK((io.flags & kFua) == 0 || (io.what == Op::kWrite && limits.native_fua));
  if (io.what == Op::kFlush) return;
  SLUICE_CHECK(io.length > 0 && InRange(io.offset, io.length, limits.size));
  if (io.what == Op::kCache) return;
  SLUICE_CHECK(IsAligned(io.offset, limits.block) && IsAligned(io.length, limits.block));
  if (!HasData(io.what)) return;
  uint64_t sum = 0;
  SLUICE_CHECK(io.seg_count > 0 && io.seg_count <= limits.segments_max);
  for (uint32_t i = 0; i < io.seg_count; ++i) {
    SLUICE_CHECK(IsAligned(reinterpret_cast<uintptr_t>(io.segs[i].iov_base), limits.mem_align));
    SLUICE_CHECK(IsAligned(io.segs[i].iov_len, limits.block));
    sum += io.segs[i].iov_len;
  }
  SLUICE_CHECK(sum == io.length);
}

int64_t FaultyMedium::DrawResult(const MediumIo& io) {
  const MediumLimits& limits = options_.limits;
  const int64_t whole = HasData(io.what) ? io.length : 0;
  for (size_t i = 0; i < faults_.size(); ++i) {
    Fault& fault = faults_[i];
    const bool in_range =
        io.what == Op::kFlush || (io.offset < fault.offset + std::min(fault.length, limits.size) &&
                                  fault.offset < io.offset + io.length);
    if ((fault.ops & OpBit(io.what)) == 0 || !in_range) continue;
    const Fault struck = fault;
    if (fault.times != kSticky && --fault.times == 0) {
      faults_.erase(faults_.begin() + static_cast<ptrdiff_t>(i));
    }
    return struck.error != 0 ? -struck.error : std::min<int64_t>(whole, struck.short_bytes);
  }
  if (rng_.PerMille(options_.error_per_mille)) return -EIO;
  if ((io.what == Op::kTrim && !limits.can_trim) || (io.what == Op::kZero && !limits.can_zero)) {
    return -EOPNOTSUPP;
  }
  if (io.what == Op::kZero && (io.flags & kFastZero) != 0 && !limits.can_fast_zero) {
    return -EOPNOTSUPP;
  }
  if (whole > limits.block && rng_.PerMille(options_.short_per_mille)) {
    const auto blocks = static_cast<uint64_t>(whole) / limits.block;
    return static_cast<int64_t>(rng_.Between(1, blocks - 1) * limits.block);
  }
  return whole;
}

Started FaultyMedium::Start(MediumIo& io) noexcept {
  CheckContract(io);
  if (pending_.size() >= options_.full_at) {
    ++refused_;
    return Started::kFull;
  }
  log_.push_back({io.what, io.flags, io.offset, io.length, io.seg_count});
  const Pending pending{&io, tick_ + rng_.Between(options_.ticks_min, options_.ticks_max),
                        versions_, DrawResult(io)};
  if ((held_ & OpBit(io.what)) == 0 && rng_.PerMille(options_.immediate_per_mille)) {
    Apply(pending);
    io.result = pending.result;
    return Started::kDone;
  }
  io.op.done = [](RingOp& op) noexcept {
    MediumIo& ended = MediumIoOf(op);
    ended.result = op.result;
    ended.done(ended);
  };
  pending_.push_back(pending);
  return Started::kPending;
}

size_t FaultyMedium::Pump() {
  ++tick_;
  std::vector<Pending> due;
  std::erase_if(pending_, [&](const Pending& pending) {
    const bool ends = pending.due <= tick_ && (held_ & OpBit(pending.io->what)) == 0;
    if (ends) due.push_back(pending);
    return ends;
  });
  if (options_.reorder) rng_.Shuffle(due);
  for (const Pending& pending : due) {
    Apply(pending);
    poller_.Complete(pending.io->op, static_cast<int32_t>(pending.result));
  }
  return due.size() + AnswerQueries();
}

size_t FaultyMedium::PumpAll() {
  size_t completed = 0;
  const auto left = [this] {
    return std::any_of(pending_.begin(), pending_.end(), [this](const Pending& pending) {
      return (held_ & OpBit(pending.io->what)) == 0;
    });
  };
  do {
    completed += Pump();
  } while (left());
  return completed;
}

void FaultyMedium::Apply(const Pending& pending) {
  const MediumIo& io = *pending.io;
  const bool failed = pending.result < 0;
  if (io.what == Op::kFlush) return ApplyFlush(pending.flush_covers, failed);
  if (io.what == Op::kRead && !failed) {
    ForEachStretch(io, 0, static_cast<uint64_t>(pending.result),
                   [&](char* memory, uint64_t at, uint64_t size) {
                     std::memcpy(memory, now_.data() + io.offset + at, size);
                   });
  }
  if (!IsWriteType(io.what) || (failed && pending.result != -EIO)) return;
  const bool whole = failed || !HasData(io.what);
  ApplyEffect(io, whole ? io.length : static_cast<uint64_t>(pending.result), failed);
}

void FaultyMedium::ApplyEffect(const MediumIo& io, uint64_t length, bool torn) {
  const uint32_t block = options_.limits.block;
  const bool stable = !options_.limits.volatile_cache || (io.flags & kFua) != 0;
  const bool hole = io.what == Op::kTrim || (io.what == Op::kZero && (io.flags & kNoHole) == 0);
  // A short write may end inside a block; of that one too it did exactly what it says.
  for (uint64_t at = io.offset; at < io.offset + length; at += block) {
    if (torn && rng_.PerMille(500)) continue;
    std::string bytes = NewBytes(io, at);
    const uint64_t written = std::min<uint64_t>(block, io.offset + length - at);
    bytes.replace(written, block - written, now_, at + written, block - written);
    SetBlock(at, bytes, stable);
    allocated_[at / block] = !hole;
  }
}

std::string FaultyMedium::NewBytes(const MediumIo& io, uint64_t at) const {
  std::string bytes(options_.limits.block, '\0');
  if (io.what != Op::kWrite) return bytes;
  ForEachStretch(io, at - io.offset, bytes.size(),
                 [&](const char* memory, uint64_t to, uint64_t size) {
                   std::memcpy(bytes.data() + to, memory, size);
                 });
  return bytes;
}

void FaultyMedium::SetBlock(uint64_t at, const std::string& bytes, bool stable) {
  now_.replace(at, bytes.size(), bytes);
  ++versions_;
  if (stable) {
    durable_.replace(at, bytes.size(), bytes);
    cached_.erase(at);
  } else {
    cached_[at].push_back({versions_, bytes});
  }
}

void FaultyMedium::ApplyFlush(uint64_t covers, bool failed) {
  for (auto it = cached_.begin(); it != cached_.end();) {
    auto& [at, versions] = *it;
    const auto end = std::find_if(versions.begin(), versions.end(),
                                  [&](const Version& version) { return version.number > covers; });
    if (end != versions.begin() && !failed) {
      const std::string& saved = std::prev(end)->bytes;
      durable_.replace(at, saved.size(), saved);
    }
    versions.erase(versions.begin(), end);
    it = versions.empty() ? cached_.erase(it) : std::next(it);
  }
}

std::string FaultyMedium::CrashImage() {
  std::string image = durable_;
  std::map<uint64_t, std::vector<std::string>> choices;
  for (const auto& [at, versions] : cached_) {
    for (const Version& version : versions) choices[at].push_back(version.bytes);
  }
  for (const Pending& pending : pending_) {
    if (!IsWriteType(pending.io->what)) continue;
    const MediumIo& io = *pending.io;
    for (uint64_t at = io.offset; at < io.offset + io.length; at += options_.limits.block) {
      choices[at].push_back(NewBytes(io, at));
    }
  }
  for (const auto& [at, bytes] : choices) {
    const uint64_t chosen = rng_.Below(bytes.size() + 1);
    if (chosen < bytes.size()) image.replace(at, bytes[chosen].size(), bytes[chosen]);
  }
  return image;
}

void FaultyMedium::QueryExtents(ExtentQuery& query) noexcept {
  SLUICE_CHECK(query.length > 0 && InRange(query.offset, query.length, options_.limits.size));
  queries_.push_back(new Query{{}, &query});
}

size_t FaultyMedium::AnswerQueries() {
  const uint32_t block = options_.limits.block;
  for (Query* waiting : queries_) {
    ExtentQuery& query = *waiting->query;
    const uint64_t end = query.offset + query.length;
    for (uint64_t at = query.offset; at < end;) {
      const uint64_t next = std::min(AlignDown(at, block) + block, end);
      const bool hole = !allocated_[at / block];
      const bool joins = !query.extents.empty() && query.extents.back().hole == hole;
      if (!joins && query.extents.size() == query.extents_max) break;
      AppendExtent(query.extents, {next - at, hole, hole});
      at = next;
    }
    waiting->op.done = [](RingOp& op) noexcept {
      auto* answered = reinterpret_cast<Query*>(&op);
      ExtentQuery& ended = *answered->query;
      delete answered;
      ended.done(ended);
    };
    poller_.Complete(waiting->op, 0);
  }
  const size_t answered = queries_.size();
  queries_.clear();
  return answered;
}

size_t FaultyMedium::Count(Op op) const {
  return static_cast<size_t>(std::count_if(
      log_.begin(), log_.end(), [op](const Request& request) { return request.op == op; }));
}

}  // namespace sluice::sim
