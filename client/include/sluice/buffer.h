// SPDX-License-Identifier: Apache-2.0
// Memory for I/O: aligned, counted, used again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "sluice/export.h"

SLUICE_SDK_BEGIN

// A handle on memory of a pool. Copies share the memory; it goes back to the pool with the last of
// them, on whatever thread. An operation that is given a Buffer holds one until its callback ran.
class SLUICE_API Buffer {
 public:
  Buffer() = default;

  std::byte* data() const { return memory_.get(); }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::span<std::byte> span() const { return {data(), size_}; }
  // REQUIRES: offset + size <= size().
  Buffer Slice(size_t offset, size_t size) const;

 private:
  friend class BufferPool;
  std::shared_ptr<std::byte> memory_;
  size_t size_ = 0;
};

// Keeps returned memory for the next who asks for a size of the same power of two. Any thread.
// Buffers may outlive their pool.
class SLUICE_API BufferPool {
 public:
  static constexpr size_t kAlignment = 4096;  // bytes

  // Keeps at most `max_kept_bytes` that nobody uses.
  explicit BufferPool(size_t max_kept_bytes = size_t{64} << 20);
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // Its contents are whatever they were. An empty Buffer when there is no memory.
  Buffer Allocate(size_t size);
  size_t kept_bytes() const;

 private:
  struct Shelf;
  std::shared_ptr<Shelf> shelf_;
};

SLUICE_SDK_END
