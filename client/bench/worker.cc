// SPDX-License-Identifier: Apache-2.0
#include "client/bench/worker.h"

#include "absl/strings/str_cat.h"
#include "client/bench/time.h"
#include "core/units.h"

namespace sluice::bench {

void Worker::ResetTally() {
  tally_ = Tally();
  answered_.store(0, std::memory_order_relaxed);
}

absl::Status Worker::Run(Control& control) {
  const uint64_t cpu_ns = ClockNs(CLOCK_THREAD_CPUTIME_ID);
  absl::Status status = Drive(control);
  tally_.cpu_ns += ClockNs(CLOCK_THREAD_CPUTIME_ID) - cpu_ns;
  if (!status.ok()) control.stop.store(true);
  return status;
}

absl::Status Impatient(const Options& options, uint64_t due) {
  return absl::DeadlineExceededError(
      absl::StrCat("no reply for ", options.patience_ns / kSecond, " s, ", due,
                   " are due: look into the server's log, or allow more by --timeout"));
}

}  // namespace sluice::bench
