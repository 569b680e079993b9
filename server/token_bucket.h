// SPDX-License-Identifier: Apache-2.0
// A budget that fills with time: at most `burst`, `per_second` more each second. It may be
// overdrawn, so that what came together is charged together. One thread.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/units.h"

namespace sluice {

class TokenBucket {
 public:
  struct Rate {
    double burst;
    double per_second;
  };

  explicit TokenBucket(Rate rate) : rate_(rate), tokens_(rate.burst) {}

  // False if there are less than none now.
  bool Take(double tokens, uint64_t now_ns) {
    Fill(now_ns);
    tokens_ -= tokens;
    return tokens_ >= 0;
  }
  void Give(double tokens) { tokens_ = std::min(rate_.burst, tokens_ + tokens); }

  // When what is overdrawn will be made good; `now_ns` if nothing is.
  uint64_t EvenAt(uint64_t now_ns) {
    Fill(now_ns);
    if (tokens_ >= 0) return now_ns;
    return now_ns + 1 + static_cast<uint64_t>(-tokens_ / rate_.per_second * double{kSecond});
  }
  bool full(uint64_t now_ns) {
    Fill(now_ns);
    return tokens_ >= rate_.burst;
  }

 private:
  void Fill(uint64_t now_ns) {
    if (filled_ns_ != 0 && now_ns > filled_ns_) {
      Give(static_cast<double>(now_ns - filled_ns_) / double{kSecond} * rate_.per_second);
    }
    filled_ns_ = now_ns;
  }

  Rate rate_;
  double tokens_;
  uint64_t filled_ns_ = 0;
};

}  // namespace sluice
