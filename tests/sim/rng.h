// SPDX-License-Identifier: Apache-2.0
// Random numbers that a seed replays, the same with every compiler: SplitMix64 (Steele, Lea, Flood
// 2014).
#pragma once

#include <cstdint>
#include <utility>

namespace sluice::sim {

class Rng {
 public:
  explicit Rng(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  // In [0, n); n > 0.
  uint64_t Below(uint64_t n) { return Next() % n; }
  // In [low, high].
  uint64_t Between(uint64_t low, uint64_t high) { return low + Below(high - low + 1); }
  bool PerMille(uint32_t chance) { return Below(1000) < chance; }

  template <typename Vector>
  void Shuffle(Vector& items) {
    for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[Below(i)]);
  }

 private:
  uint64_t state_;
};

}  // namespace sluice::sim
