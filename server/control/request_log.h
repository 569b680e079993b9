// SPDX-License-Identifier: Apache-2.0
// Answers of mutating calls by the id that the client gave its request, so that a repeated request
// is answered, not carried out again.
//
// An answer is kept for ten minutes at least; a failed request leaves nothing, for it may be tried
// again. Any thread; takes a lock, never while a request is carried out.
#pragma once

#include <any>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/clock.h"

namespace sluice {

class RequestLog {
 public:
  static constexpr size_t kIdBytesMax = 64;
  static constexpr size_t kKept = 4096;
  static constexpr uint64_t kKeptNs = 600'000'000'000;

  explicit RequestLog(Clock& clock) : clock_(clock) {}

  // Carries out `call` (which returns absl::StatusOr<Answer>) unless a request `id` was carried out
  // before: then that one's answer. `what` says in full what is asked for, the call's name
  // included. An empty id is no id.
  // InvalidArgument: no id can be like that, or the same one stood for something else. Aborted: it
  // is being carried out. ResourceExhausted: as many answers are kept as there may be.
  template <typename Answer, typename Call>
  absl::StatusOr<Answer> Once(const std::string& id, const std::string& what, Call&& call) {
    if (id.empty()) return call();
    const absl::StatusOr<std::any> kept = Begin(id, what);
    if (!kept.ok()) return kept.status();
    if (kept->has_value()) return std::any_cast<const Answer&>(*kept);
    absl::StatusOr<Answer> answer = call();
    End(id, answer.ok() ? std::any(*answer) : std::any());
    return answer;
  }

  size_t size() const;

 private:
  struct Request {
    size_t what = 0;  // its hash: what is asked for may be megabytes
    std::any answer;  // none: it is being carried out
    uint64_t ended_ns = 0;
  };

  // The answer; none: it is the caller's to carry out.
  absl::StatusOr<std::any> Begin(const std::string& id, const std::string& what);
  // Without an answer it failed.
  void End(const std::string& id, std::any answer);
  void ForgetOld();

  Clock& clock_;
  mutable std::mutex mutex_;  // guards all below
  std::map<std::string, Request> requests_;
  std::deque<std::string> ended_;  // those with an answer, oldest first
};

}  // namespace sluice
