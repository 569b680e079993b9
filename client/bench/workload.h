// SPDX-License-Identifier: Apache-2.0
// What one connection asks for next. One thread; no allocation after construction.
#pragma once

#include <cstdint>

#include "client/bench/options.h"
#include "proto/nbd.h"

namespace sluice::bench {

// What connections work on: `blocks` blocks from `offset`, bytes.
struct Region {
  uint64_t offset = 0;
  uint64_t blocks = 0;
};

class Coverage;

struct Plan {
  nbd::Command command = {};
  uint64_t block = 0;  // counted from the region's start
};

class Workload {
 public:
  // The workload of connection `index`: random ones take blocks of the whole region, independently
  // and evenly; sequential ones go over the connection's own part, again and again. Blocks for
  // `count` requests, UINT64_MAX: without end.
  static Workload Load(const Options& options, const Region& region, uint32_t index,
                       uint64_t count);
  // Reads the connection's part once, of it what `coverage` holds.
  static Workload ReadBack(const Options& options, const Region& region, uint32_t index,
                           const Coverage& coverage);
  // One FLUSH.
  static Workload Flush();

  // False when there is nothing left to do.
  bool Next(Plan& plan);

 private:
  uint64_t Random();

  uint64_t left_ = 0;
  uint64_t random_ = 0;
  uint64_t at_ = 0;
  uint64_t begin_ = 0;
  uint64_t end_ = 0;
  const Coverage* coverage_ = nullptr;
  nbd::Command change_ = {};
  uint32_t read_percent_ = 100;
  bool random_order_ = false;
};

}  // namespace sluice::bench
