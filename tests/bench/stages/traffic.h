// SPDX-License-Identifier: Apache-2.0
// NBD requests of 4 KiB in batches of 32, as a client sends them, and a check of what comes back.
// Contents are a function of the place: the first eight bytes of a page tell its offset.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/bio.h"
#include "proto/bytes.h"
#include "proto/nbd.h"
#include "tests/bench/stages/devices.h"

namespace sluice::bench {

inline constexpr uint32_t kBatch = 32;

enum class Order : uint8_t { kRandom, kContiguous };  // random: no two pages touch

struct Batch {
  nbd::Command command;
  std::vector<uint8_t> bytes;
  uint64_t cookies = 0;  // their sum; a cookie is its request's offset
};

// `count` batches over different pages.
std::vector<Batch> MakeBatches(nbd::Command command, Order order, size_t count);

// Takes a stream of simple replies apart, cut anywhere, and checks all of them.
class ReplyReader {
 public:
  // `zeroes`: reads find zeroes, not what was written.
  void Expect(const Batch& batch, bool zeroes);
  void Take(const Segment* from, size_t count);
  // Everything expected came, and nothing else.
  bool done() const { return left_ == 0 && skip_ == 0 && have_ == 0; }

 private:
  void CheckHead();

  bool reads_ = false;
  bool zeroes_ = false;
  uint32_t left_ = 0;
  uint64_t cookies_ = 0;
  size_t skip_ = 0;  // payload bytes still to come
  size_t have_ = 0;
  uint8_t head_[24];  // the reply's header; of a read, the first bytes of the page too
};

}  // namespace sluice::bench
