// SPDX-License-Identifier: Apache-2.0
#include "server/control/request_log.h"

#include "absl/strings/str_cat.h"
#include "core/check.h"
#include "server/text.h"

namespace sluice {

absl::StatusOr<std::any> RequestLog::Begin(const std::string& id, const std::string& what) {
  if (id.size() > kIdBytesMax || !IsPlainText(id)) {
    return absl::InvalidArgumentError(
        absl::StrCat("request_id: ", Quote(id),
                     " is none: give at most 64 bytes of UTF-8 "
                     "without control characters, a UUID's text say"));
  }
  const std::lock_guard lock(mutex_);
  ForgetOld();
  const auto found = requests_.find(id);
  if (found == requests_.end()) {
    if (requests_.size() == kKept) {
      return absl::ResourceExhaustedError(
          absl::StrCat("request_id: ", kKept,
                       " requests of the last ten minutes are remembered already: wait, or ask "
                       "without an id"));
    }
    requests_.emplace(id, Request{absl::HashOf(what), {}, 0});
    return std::any();
  }
  if (found->second.what != absl::HashOf(what)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "request_id: ", Quote(id), " stood for another request before: take a new one"));
  }
  if (!found->second.answer.has_value()) {
    return absl::AbortedError(
        absl::StrCat("request_id: ", Quote(id), " is being carried out: ask again"));
  }
  return found->second.answer;
}

void RequestLog::End(const std::string& id, std::any answer) {
  const std::lock_guard lock(mutex_);
  const auto found = requests_.find(id);
  SLUICE_CHECK(found != requests_.end() && !found->second.answer.has_value());
  if (!answer.has_value()) {
    requests_.erase(found);
    return;
  }
  found->second.answer = std::move(answer);
  found->second.ended_ns = clock_.NowNs();
  ended_.push_back(id);
}

void RequestLog::ForgetOld() {
  const uint64_t now_ns = clock_.NowNs();
  while (!ended_.empty()) {
    const auto oldest = requests_.find(ended_.front());
    if (now_ns - oldest->second.ended_ns < kKeptNs) return;
    requests_.erase(oldest);
    ended_.pop_front();
  }
}

size_t RequestLog::size() const {
  const std::lock_guard lock(mutex_);
  return requests_.size();
}

}  // namespace sluice
