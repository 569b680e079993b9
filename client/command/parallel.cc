// SPDX-License-Identifier: Apache-2.0
#include "client/command/parallel.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <thread>

#include "core/units.h"

namespace sluice::command {
namespace {

// Effects without data are split too, so that progress is seen and a resume has little to redo.
constexpr uint64_t kZeroPieceBytes = 64 << 20;

void Cut(std::vector<Piece>& pieces, uint64_t begin, uint64_t end, bool zero) {
  const uint64_t longest = zero ? kZeroPieceBytes : kPieceBytes;
  for (; begin < end; begin += longest) {
    pieces.push_back({begin, std::min(longest, end - begin), zero});
  }
}

}  // namespace

std::vector<Piece> PiecesOf(const std::vector<Extent>& extents, uint64_t align) {
  std::vector<Piece> pieces;
  if (extents.empty()) return pieces;
  uint64_t data_at = extents.front().offset;  // not yet cut from here on
  for (const Extent& extent : extents) {
    if (!extent.zero) continue;
    const uint64_t begin = std::max(data_at, (extent.offset + align - 1) / align * align);
    const uint64_t end = (extent.offset + extent.length) / align * align;
    if (begin >= end) continue;
    Cut(pieces, data_at, begin, false);
    Cut(pieces, begin, end, true);
    data_at = end;
  }
  Cut(pieces, data_at, extents.back().offset + extents.back().length, false);
  return pieces;
}

Status ForEach(const std::vector<Piece>& pieces, uint32_t threads, BufferPool& buffers,
               const std::function<Status(const Piece&, Buffer&)>& work) {
  std::atomic<size_t> next = 0;
  std::atomic<bool> failed = false;
  std::mutex mutex;
  Status first;
  const auto run = [&] {
    Buffer buffer = buffers.Allocate(kPieceBytes);
    while (!failed) {
      const size_t mine = next++;
      if (mine >= pieces.size()) return;
      Status status = work(pieces[mine], buffer);
      if (status.ok()) continue;
      const std::lock_guard lock(mutex);
      if (!failed.exchange(true)) first = std::move(status);
    }
  };
  std::vector<std::thread> others;
  const size_t count = std::min<size_t>(threads, pieces.size());
  for (size_t i = 1; i < count; ++i) others.emplace_back(run);
  run();
  for (std::thread& thread : others) thread.join();
  return first;
}

bool AllZero(std::span<const std::byte> bytes) {
  return bytes.empty() || (bytes[0] == std::byte{0} &&
                           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace sluice::command
