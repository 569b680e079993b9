// SPDX-License-Identifier: Apache-2.0
// Big-endian integers and length-prefixed bytes over spans, with every bound checked.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace sluice {

using ByteSpan = std::span<uint8_t>;
using ConstByteSpan = std::span<const uint8_t>;

// Reads and writes one integer at an address that need not be aligned.
template <std::unsigned_integral T>
constexpr T ByteSwapToBigEndian(T value) {
  if constexpr (std::endian::native == std::endian::big || sizeof(T) == 1) {
    return value;
  } else if constexpr (sizeof(T) == 2) {
    return __builtin_bswap16(value);
  } else if constexpr (sizeof(T) == 4) {
    return __builtin_bswap32(value);
  } else {
    return __builtin_bswap64(value);
  }
}

template <std::unsigned_integral T>
T LoadBigEndian(const uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return ByteSwapToBigEndian(value);
}

template <std::unsigned_integral T>
void StoreBigEndian(uint8_t* at, T value) {
  value = ByteSwapToBigEndian(value);
  std::memcpy(at, &value, sizeof(T));
}

// Takes values off the front of a span. A read past the end yields zero or nothing and clears
// ok(), which never comes back, so a parser may read a whole message and ask once.
class ByteReader {
 public:
  explicit ByteReader(ConstByteSpan bytes) : rest_(bytes) {}

  template <std::unsigned_integral T>
  T Take() {
    const ConstByteSpan bytes = TakeBytes(sizeof(T));
    return bytes.empty() ? T{0} : LoadBigEndian<T>(bytes.data());
  }

  ConstByteSpan TakeBytes(size_t count) {
    if (!ok_ || count > rest_.size()) {
      ok_ = false;
      return {};
    }
    const ConstByteSpan taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }

  std::string_view TakeText(size_t count) {
    const ConstByteSpan bytes = TakeBytes(count);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  // Marks what was read as malformed.
  void Fail() { ok_ = false; }

  bool ok() const { return ok_; }
  ConstByteSpan rest() const { return rest_; }
  // Everything was read and nothing was missing.
  bool Complete() const { return ok_ && rest_.empty(); }

 private:
  ConstByteSpan rest_;
  bool ok_ = true;
};

// Puts values into a span. A value that does not fit is not written at all and clears ok().
class ByteWriter {
 public:
  explicit ByteWriter(ByteSpan out) : out_(out) {}

  template <std::unsigned_integral T>
  ByteWriter& Put(T value) {
    if (Fits(sizeof(T))) {
      StoreBigEndian(out_.data() + size_, value);
      size_ += sizeof(T);
    }
    return *this;
  }

  ByteWriter& PutText(std::string_view text) {
    if (Fits(text.size()) && !text.empty()) {
      std::memcpy(out_.data() + size_, text.data(), text.size());
      size_ += text.size();
    }
    return *this;
  }

  bool ok() const { return ok_; }
  // Bytes written; 0 once anything did not fit.
  size_t size() const { return ok_ ? size_ : 0; }

 private:
  bool Fits(size_t count) {
    ok_ = ok_ && count <= out_.size() - size_;
    return ok_;
  }

  ByteSpan out_;
  size_t size_ = 0;
  bool ok_ = true;
};

}  // namespace sluice
