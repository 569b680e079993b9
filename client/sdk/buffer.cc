// SPDX-License-Identifier: Apache-2.0
#include "sluice/buffer.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <vector>

#include "core/check.h"

SLUICE_SDK_BEGIN

// Memory nobody uses, by the power of two of its size.
struct BufferPool::Shelf {
  explicit Shelf(size_t max_kept) : max_kept_bytes(max_kept) {}
  ~Shelf() {
    for (const auto& row : rows) {
      for (std::byte* memory : row) std::free(memory);
    }
  }

  void Return(std::byte* memory, size_t row) {
    {
      const std::lock_guard lock(mutex);
      if ((size_t{1} << row) <= max_kept_bytes - kept_bytes) {
        rows[row].push_back(memory);
        kept_bytes += size_t{1} << row;
        return;
      }
    }
    std::free(memory);
  }

  const size_t max_kept_bytes;
  std::mutex mutex;
  size_t kept_bytes = 0;  // guarded by mutex, like rows
  std::array<std::vector<std::byte*>, 64> rows;
};

Buffer Buffer::Slice(size_t offset, size_t size) const {
  SLUICE_CHECK(offset <= size_ && size <= size_ - offset);
  Buffer slice;
  slice.memory_ = std::shared_ptr<std::byte>(memory_, memory_.get() + offset);
  slice.size_ = size;
  return slice;
}

BufferPool::BufferPool(size_t max_kept_bytes) : shelf_(std::make_shared<Shelf>(max_kept_bytes)) {}
BufferPool::~BufferPool() = default;

Buffer BufferPool::Allocate(size_t size) {
  Buffer buffer;
  if (size == 0 || size > (size_t{1} << 62)) return buffer;
  const auto row = static_cast<size_t>(std::bit_width(std::max(size, kAlignment) - 1));
  std::byte* memory = nullptr;
  {
    const std::lock_guard lock(shelf_->mutex);
    if (auto& free = shelf_->rows[row]; !free.empty()) {
      memory = free.back();
      free.pop_back();
      shelf_->kept_bytes -= size_t{1} << row;
    }
  }
  if (memory == nullptr) {
    memory = static_cast<std::byte*>(std::aligned_alloc(kAlignment, size_t{1} << row));
  }
  if (memory == nullptr) return buffer;
  buffer.memory_ = std::shared_ptr<std::byte>(
      memory, [shelf = shelf_, row](std::byte* returned) { shelf->Return(returned, row); });
  buffer.size_ = size;
  return buffer;
}

size_t BufferPool::kept_bytes() const {
  const std::lock_guard lock(shelf_->mutex);
  return shelf_->kept_bytes;
}

SLUICE_SDK_END
