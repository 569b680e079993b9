// SPDX-License-Identifier: Apache-2.0
// Bytes received and not yet parsed. One thread; never grows, never moves while a receive is under
// way.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>

#include "core/check.h"
#include "proto/bytes.h"

namespace sluice::nbd {

class Staging {
 public:
  explicit Staging(size_t capacity)
      : memory_(std::make_unique_for_overwrite<uint8_t[]>(capacity)), capacity_(capacity) {}

  ConstByteSpan bytes() const { return {memory_.get() + begin_, end_ - begin_}; }

  // Takes bytes off the front. REQUIRES: count <= bytes().size().
  void Consume(size_t count) {
    SLUICE_CHECK(count <= end_ - begin_);
    begin_ += count;
    if (begin_ == end_) begin_ = end_ = 0;
  }

  // All the room there is, behind bytes(), which move to the front.
  ByteSpan Room() {
    if (begin_ > 0) {
      std::memmove(memory_.get(), memory_.get() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    return {memory_.get() + end_, capacity_ - end_};
  }

  // `count` bytes were put at the front of Room().
  void Filled(size_t count) {
    SLUICE_CHECK(count <= capacity_ - end_);
    end_ += count;
  }

 private:
  std::unique_ptr<uint8_t[]> memory_;
  size_t capacity_;
  size_t begin_ = 0;
  size_t end_ = 0;
};

}  // namespace sluice::nbd
