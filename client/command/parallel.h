// SPDX-License-Identifier: Apache-2.0
// The pieces a copy or a comparison is made of, and several threads that work them off.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "sluice/buffer.h"
#include "sluice/status.h"
#include "sluice/volume.h"

namespace sluice::command {

struct Piece {
  uint64_t offset = 0;
  uint64_t length = 0;  // bytes; of data at most kPieceBytes
  bool zero = false;
  bool operator==(const Piece&) const = default;
};
inline constexpr uint64_t kPieceBytes = 1 << 20;

// All of `extents`, in their order. What reads as zeroes is a zero piece as far as it fills whole
// blocks of `align`, all else is data.
std::vector<Piece> PiecesOf(const std::vector<Extent>& extents, uint64_t align);

// Calls `work` for each piece, on up to `threads` threads, each with a buffer of kPieceBytes of its
// own. The first error ends it and is returned, once nothing runs any more.
Status ForEach(const std::vector<Piece>& pieces, uint32_t threads, BufferPool& buffers,
               const std::function<Status(const Piece&, Buffer&)>& work);

bool AllZero(std::span<const std::byte> bytes);

}  // namespace sluice::command
