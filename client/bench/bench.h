// SPDX-License-Identifier: Apache-2.0
// One run of load against one export: connect, warm up, measure, flush, read back.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "client/bench/options.h"
#include "client/bench/tally.h"

namespace sluice::bench {

struct Result {
  Tally tally;                            // of the measured phase
  double seconds = 0;                     // first request to last reply
  std::optional<double> durable_seconds;  // --flush: to its reply
  Tally read_back;                        // --verify of modes that write
  bool interrupted = false;               // by a signal
  absl::Status status;                    // why it ended early, if not by a signal

  double iops() const;
  double bytes_per_second() const;
  std::optional<double> durable_iops() const;
  double cpu_us_per_request() const;
  uint64_t mismatches() const { return tally.mismatches + read_back.mismatches; }
  // Everything was answered, without an error, and as it should be.
  bool good() const;
};

// Blocks. Takes SIGINT and SIGTERM while it runs: the first ends the load in order, the second the
// process. Progress goes to stderr if that is a terminal. Errors before the first request (cannot
// connect, the export cannot do it) are returned; later ones are in the result. One at a time.
absl::StatusOr<Result> Run(const Options& options);

}  // namespace sluice::bench
