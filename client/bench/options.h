// SPDX-License-Identifier: Apache-2.0
// What one run of `sluice bench` is asked to do.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "client/control/server_options.h"
#include "client/uri.h"
#include "proto/nbd.h"

namespace sluice::bench {

// A name of --rw, taken apart.
struct Mode {
  absl::string_view name;
  nbd::Command change;  // what is not a read
  uint8_t reads;        // percent; kMixed: what --read-percent says
  bool random;
};
inline constexpr uint8_t kMixed = 255;
inline constexpr Mode kModes[] = {
    {"randread", nbd::Command::kWrite, 100, true},
    {"read", nbd::Command::kWrite, 100, false},
    {"randwrite", nbd::Command::kWrite, 0, true},
    {"write", nbd::Command::kWrite, 0, false},
    {"randrw", nbd::Command::kWrite, kMixed, true},
    {"rw", nbd::Command::kWrite, kMixed, false},
    {"randtrim", nbd::Command::kTrim, 0, true},
    {"trim", nbd::Command::kTrim, 0, false},
    {"randzero", nbd::Command::kWriteZeroes, 0, true},
    {"zero", nbd::Command::kWriteZeroes, 0, false},
};
// nullptr if there is none.
const Mode* FindMode(absl::string_view name);

struct Options {
  std::string uri_text;
  NbdUri uri;                     // of one of NBD
  control::ServerOptions server;  // how a sluice:// URI's server is spoken to
  Mode mode = kModes[0];
  uint32_t read_percent = 70;  // of mixed modes
  uint32_t block_size = 4096;  // bytes, a multiple of 512
  uint32_t depth = 32;         // requests in flight, per connection
  uint32_t connections = 1;
  uint32_t threads = 1;      // each drives its share of the connections
  uint64_t offset = 0;       // of the region, bytes
  uint64_t size = 0;         // of the region, bytes; 0: to the export's end
  uint64_t time_ns = 0;      // of the measured phase; 0: no limit
  uint64_t warmup_ns = 0;    // before it, not counted
  uint64_t requests = 0;     // in the measured phase, over all connections; 0: no limit
  uint64_t patience_ns = 0;  // without any reply while some are due
  uint64_t poll_ns = 0;      // asking again and again before sleeping
  uint64_t seed = 1;
  bool fua = false;
  bool flush = false;
  bool verify = false;
  bool structured = false;
  bool destroy = false;
  bool json = false;
  bool histogram = false;

  uint32_t reads() const { return mode.reads == kMixed ? read_percent : mode.reads; }
  bool changes() const { return reads() < 100; }
};

// What can be judged without a server: ranges, and what goes with what. InvalidArgument names the
// option.
absl::Status Check(const Options& options);

}  // namespace sluice::bench
