// SPDX-License-Identifier: Apache-2.0
// One operation on a medium, with its own memory, for tests that speak to a Medium directly.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/check.h"
#include "storage/medium.h"

namespace sluice::sim {

// Bytes that tell where they belong: a function of their offset and a seed, never zero.
inline std::string Pattern(uint64_t offset, size_t size, uint64_t seed) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) {
    uint64_t z = (offset + i) * 0x9e3779b97f4a7c15 + seed * 0xbf58476d1ce4e5b9;
    z ^= z >> 29;
    bytes[i] = static_cast<char>(1 + z * 0x94d049bb133111eb % 255);
  }
  return bytes;
}

// Memory aligned to 4096 of which `segments` nearly equal parts, multiples of 512, are one
// operation's vector.
class MediumOp {
 public:
  MediumOp(Op what, uint64_t offset, uint32_t length, uint8_t flags = 0, uint32_t segments = 1) {
    io_.what = what;
    io_.flags = flags;
    io_.offset = offset;
    io_.length = length;
    io_.done = [](MediumIo& io) noexcept { ++reinterpret_cast<MediumOp&>(io).ended_; };
    if (!HasData(what) || (flags & kBorrow) != 0) return;
    memory_.resize(length + kAlign);
    const uint32_t part = (length / segments + 511) / 512 * 512;
    for (uint32_t at = 0; at < length; at += part) {
      segs_.push_back({data() + at, std::min(part, length - at)});
    }
    io_.segs = segs_.data();
    io_.seg_count = static_cast<uint32_t>(segs_.size());
  }
  MediumOp(const MediumOp&) = delete;
  MediumOp& operator=(const MediumOp&) = delete;
  ~MediumOp() { SLUICE_CHECK(!io_.op.ready.is_linked()); }

  // A write of `bytes` at `offset`.
  static MediumOp Write(uint64_t offset, const std::string& bytes, uint8_t flags = 0,
                        uint32_t segments = 1) {
    return MediumOp(offset, bytes, flags, segments);
  }

  // What Start() said; an operation that ended at once counts as ended.
  Started StartOn(Medium& medium) {
    const Started started = medium.Start(io_);
    if (started == Started::kDone) ++ended_;
    return started;
  }

  MediumIo& io() { return io_; }
  char* data() {
    return memory_.data() + (kAlign - reinterpret_cast<uintptr_t>(memory_.data()) % kAlign);
  }
  // What a read brought: its own memory, or what was lent.
  std::string bytes() {
    if (io_.loan == nullptr) return std::string(data(), io_.length);
    std::string lent;
    for (uint32_t i = 0; i < io_.loan->count; ++i) {
      const Segment& seg = io_.loan->segs()[i];
      lent.append(static_cast<char*>(seg.iov_base), seg.iov_len);
    }
    return lent.substr(0, io_.length);
  }
  bool ended() const { return ended_ > 0; }
  int times_ended() const { return ended_; }
  int64_t result() const { return io_.result; }

 private:
  static constexpr size_t kAlign = 4096;

  MediumOp(uint64_t offset, const std::string& bytes, uint8_t flags, uint32_t segments)
      : MediumOp(Op::kWrite, offset, static_cast<uint32_t>(bytes.size()), flags, segments) {
    bytes.copy(data(), bytes.size());
  }

  MediumIo io_;  // first: `done` finds us by it
  std::vector<char> memory_;
  std::vector<Segment> segs_;
  int ended_ = 0;
};

}  // namespace sluice::sim
