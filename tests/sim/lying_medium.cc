// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/lying_medium.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/check.h"

namespace sluice::sim {

const char* LieName(Lie lie) {
  static constexpr const char* kNames[kLies] = {
      "None",      "AckEarly",    "ShortIsWhole", "FlushSkipped", "FuaDropped", "ErrorToAll",
      "LateGhost", "ZeroSkipped", "TrimTooFar",   "ReadUnfilled", "Misplaced"};
  return kNames[static_cast<int>(lie)];
}

LyingMedium::LyingMedium(std::unique_ptr<Medium> below, Lie lie, uint64_t seed)
    : below_(std::move(below)), lie_(lie), rng_(seed) {}

LyingMedium::~LyingMedium() { SLUICE_CHECK(orders_.empty()); }

Started LyingMedium::Start(MediumIo& io) noexcept {
  const bool sometimes = rng_.PerMille(100);
  const bool write = io.what == Op::kWrite;
  if ((lie_ == Lie::kFlushSkipped && io.what == Op::kFlush) ||
      (lie_ == Lie::kZeroSkipped && io.what == Op::kZero && sometimes)) {
    io.result = 0;
    return Started::kDone;
  }
  if (lie_ == Lie::kErrorToAll && write && InBadRange(io)) {
    io.result = -EIO;
    return Started::kDone;
  }
  const bool early = write && sometimes && (lie_ == Lie::kAckEarly || lie_ == Lie::kLateGhost);
  const Started started = Pass(io, early);
  if (!early || started == Started::kFull) return started;
  io.result = lie_ == Lie::kAckEarly ? int64_t{io.length} : -EIO;
  return Started::kDone;
}

// `keep`: the one who asked is answered at once, so the data is copied.
Started LyingMedium::Pass(MediumIo& io, bool keep) {
  auto order = std::make_unique<Order>();
  order->io = io;
  order->asked = keep ? nullptr : &io;
  order->medium = this;
  order->io.context = order.get();
  order->io.done = [](MediumIo& done) noexcept {
    auto& ended = *static_cast<Order*>(done.context);
    ended.medium->OnDone(ended);
  };
  if (keep) {
    const size_t align = std::max(limits().mem_align, limits().block);
    order->memory.resize(io.length + align);
    const auto base = reinterpret_cast<uintptr_t>(order->memory.data());
    char* memory = order->memory.data() + (align - base % align);
    order->segs = {{memory, io.length}};
    for (uint32_t i = 0; i < io.seg_count; ++i) {
      std::memcpy(memory, io.segs[i].iov_base, io.segs[i].iov_len);
      memory += io.segs[i].iov_len;
    }
    order->io.segs = order->segs.data();
    order->io.seg_count = 1;
  }
  if (lie_ == Lie::kFuaDropped) order->io.flags &= static_cast<uint8_t>(~kFua);
  const uint64_t behind = io.offset + io.length + limits().block;
  if (lie_ == Lie::kTrimTooFar && io.what == Op::kTrim && behind <= limits().size) {
    order->io.length += limits().block;
  }
  const bool misplaced = lie_ == Lie::kMisplaced && io.what == Op::kWrite && rng_.PerMille(20);
  if (misplaced && behind <= limits().size) order->io.offset += limits().block;
  const Started started = below_->Start(order->io);
  if (started == Started::kDone && !keep) io.result = Result(*order);
  if (started != Started::kPending) return started;
  orders_.push_back(std::move(order));
  return started;
}

int64_t LyingMedium::Result(const Order& order) {
  const int64_t result = order.io.result;
  const Op what = order.io.what;
  const bool is_short = HasData(what) && result > 0 && result < order.io.length;
  if (is_short && lie_ == Lie::kShortIsWhole && what == Op::kWrite) return order.io.length;
  if (is_short && lie_ == Lie::kReadUnfilled && what == Op::kRead) return order.io.length;
  if (lie_ == Lie::kErrorToAll && what == Op::kWrite && result == -EIO && order.io.seg_count > 1) {
    bad_.push_back({order.io.offset, order.io.offset + order.io.length});
  }
  return result;
}

void LyingMedium::OnDone(Order& order) noexcept {
  const int64_t result = Result(order);
  MediumIo* asked = order.asked;
  orders_.remove_if([&](const std::unique_ptr<Order>& other) { return other.get() == &order; });
  if (asked == nullptr) return;
  asked->result = result;
  asked->done(*asked);
}

bool LyingMedium::InBadRange(const MediumIo& io) const {
  return std::any_of(bad_.begin(), bad_.end(), [&](const Range& range) {
    return io.offset >= range.begin && io.offset + io.length <= range.end;
  });
}

}  // namespace sluice::sim
