// SPDX-License-Identifier: Apache-2.0
#include "client/bench/pattern.h"

#include <algorithm>
#include <cstring>

namespace sluice::bench {
namespace {

constexpr uint64_t kWordBytes = sizeof(uint64_t);

// Eight bytes of the pattern: the mixing step of splitmix64 (Steele, Lea, Flood, OOPSLA 2014).
uint64_t Word(uint64_t seed, uint64_t index) {
  uint64_t word = (index + seed * 0xd1342543de82ef95) * 0x9e3779b97f4a7c15;
  word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9;
  return word ^ (word >> 27);
}

// Calls step(word, place in the bytes, first byte of the word, count) until it says no.
template <typename Step>
bool EachWord(uint64_t seed, uint64_t offset, size_t length, Step step) {
  size_t at = 0;
  while (at < length) {
    const uint64_t word = Word(seed, (offset + at) / kWordBytes);
    const size_t skip = (offset + at) % kWordBytes;
    const size_t count = std::min<size_t>(kWordBytes - skip, length - at);
    if (!step(word, at, skip, count)) return false;
    at += count;
  }
  return true;
}

}  // namespace

void FillPattern(uint64_t seed, uint64_t offset, ByteSpan out) {
  EachWord(seed, offset, out.size(), [&](uint64_t word, size_t at, size_t skip, size_t count) {
    std::memcpy(out.data() + at, reinterpret_cast<const uint8_t*>(&word) + skip, count);
    return true;
  });
}

bool MatchesPattern(uint64_t seed, uint64_t offset, ConstByteSpan bytes) {
  return EachWord(seed, offset, bytes.size(),
                  [&](uint64_t word, size_t at, size_t skip, size_t count) {
                    const auto* expected = reinterpret_cast<const uint8_t*>(&word) + skip;
                    return std::memcmp(bytes.data() + at, expected, count) == 0;
                  });
}

bool IsZero(ConstByteSpan bytes) {
  return bytes.empty() ||
         (bytes[0] == 0 && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace sluice::bench
