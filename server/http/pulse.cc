// SPDX-License-Identifier: Apache-2.0
#include "server/http/pulse.h"

#include "absl/strings/str_cat.h"
#include "core/units.h"

namespace sluice::http {

Pulse::Pulse(ReactorSet& reactors, Clock& clock, uint64_t stuck_ns)
    : reactors_(reactors), clock_(clock), stuck_ns_(stuck_ns) {
  for (uint16_t id = 0; id < reactors.size(); ++id) {
    beats_.push_back(std::make_shared<std::atomic<uint64_t>>(0));
  }
}

std::string Pulse::Check() {
  const uint64_t now_ns = clock_.NowNs();
  std::string stuck;
  for (uint16_t id = 0; id < reactors_.size(); ++id) {
    const Beat& beat = beats_[id];
    const uint64_t asked_ns = beat->load();
    if (asked_ns == 0) {
      beat->store(now_ns);
      reactors_.at(id).Post([beat] { beat->store(0); });
    } else if (now_ns - asked_ns > stuck_ns_) {
      absl::StrAppend(&stuck, "reactor ", id, " has not turned for ", (now_ns - asked_ns) / kSecond,
                      " s\n");
    }
  }
  return stuck;
}

}  // namespace sluice::http
