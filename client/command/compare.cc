// SPDX-License-Identifier: Apache-2.0
#include "client/command/compare.h"

#include <algorithm>
#include <atomic>
#include <span>
#include <vector>

#include "client/command/meter.h"
#include "client/command/parallel.h"
#include "core/units.h"

namespace sluice::command {
namespace {

constexpr uint64_t kWindowBytes = 256 * kMiB;  // a difference in it ends the comparison behind it

// Any thread.
class Comparison {
 public:
  Comparison(Endpoint& a, Endpoint& b, BufferPool& buffers)
      : a_(a), b_(b), buffers_(buffers), by_sums_(a.can_checksum() && b.can_checksum()) {}

  // `buffer` is large enough for the piece.
  Status ComparePiece(const Piece& piece, const Buffer& buffer) {
    return by_sums_ ? CompareSums(piece, buffer) : CompareData(piece.offset, piece.length, buffer);
  }

  // UINT64_MAX: nowhere yet.
  uint64_t first_difference() const { return first_; }

 private:
  Status CompareSums(const Piece& piece, const Buffer& buffer) {
    const auto left = a_.Checksums(piece.offset, piece.length);
    if (!left.ok()) return left.status();
    const auto right = b_.Checksums(piece.offset, piece.length);
    if (!right.ok()) return right.status();
    for (size_t i = 0; i < left->size() && (*left)[i].offset < first_; ++i) {
      const Checksum& mine = (*left)[i];
      const Checksum& other = (*right)[i];
      if (mine.status.ok() && other.status.ok() && mine.crc32c == other.crc32c) continue;
      if (Status s = CompareData(mine.offset, mine.length, buffer); !s.ok()) return s;
    }
    return {};
  }

  Status CompareData(uint64_t offset, uint64_t length, const Buffer& buffer) {
    const Buffer other = buffers_.Allocate(length);
    const std::span<std::byte> left = buffer.span().first(length);
    if (Status s = a_.Read(offset, left); !s.ok()) return s;
    if (Status s = b_.Read(offset, other.span()); !s.ok()) return s;
    const auto differ = std::mismatch(left.begin(), left.end(), other.span().begin());
    if (differ.first == left.end()) return {};
    const uint64_t found = offset + static_cast<uint64_t>(differ.first - left.begin());
    uint64_t best = first_;
    while (found < best && !first_.compare_exchange_weak(best, found)) {
    }
    return {};
  }

  Endpoint& a_;
  Endpoint& b_;
  BufferPool& buffers_;
  const bool by_sums_;
  std::atomic<uint64_t> first_ = UINT64_MAX;
};

}  // namespace

Result<std::optional<uint64_t>> Compare(Endpoint& a, Endpoint& b, uint64_t size,
                                        const Options& options, BufferPool& buffers) {
  Meter meter("verify", size, 0, options.quiet || options.json);
  Comparison comparison(a, b, buffers);
  for (uint64_t at = 0; at < size && comparison.first_difference() == UINT64_MAX;
       at += kWindowBytes) {
    const uint64_t length = std::min(kWindowBytes, size - at);
    const std::vector<Piece> pieces = PiecesOf({{at, length, false, false}}, 1);
    const Status status =
        ForEach(pieces, options.jobs, buffers, [&](const Piece& piece, Buffer& buffer) {
          const Status compared = comparison.ComparePiece(piece, buffer);
          if (compared.ok()) meter.Add(static_cast<int64_t>(piece.length));
          return compared;
        });
    if (!status.ok()) return status;
  }
  if (comparison.first_difference() == UINT64_MAX) return std::optional<uint64_t>();
  return std::optional<uint64_t>(comparison.first_difference());
}

}  // namespace sluice::command
