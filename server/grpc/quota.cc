// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/quota.h"

#include "absl/strings/str_cat.h"
#include "server/text.h"

namespace sluice::rpc {

absl::StatusOr<Quota::Ticket> Quota::Enter(const Identity& who, uint64_t amount) {
  const bool shares = who.kind == Identity::Kind::kCertificate;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (shares) {
    const auto found = taken_by_.find(who.name);
    const uint64_t has = found == taken_by_.end() ? 0 : found->second;
    if (has + amount > limits_.of_one) {
      return absl::ResourceExhaustedError(
          absl::StrCat("certificate ", Quote(who.name), " has its share of the server's ",
                       limits_.what, ", ", limits_.of_one, ": ", limits_.cure));
    }
  }
  if (taken_ + amount > limits_.of_all) {
    return absl::ResourceExhaustedError(absl::StrCat("all of the server's ", limits_.what, ", ",
                                                     limits_.of_all,
                                                     ", are taken: try again later"));
  }
  taken_ += amount;
  if (shares) taken_by_[who.name] += amount;
  return Ticket(*this, shares ? who.name : "", amount);
}

void Quota::Leave(const std::string& name, uint64_t amount) {
  const std::lock_guard<std::mutex> lock(mutex_);
  taken_ -= amount;
  if (name.empty()) return;
  const auto found = taken_by_.find(name);
  if ((found->second -= amount) == 0) taken_by_.erase(found);
}

}  // namespace sluice::rpc
