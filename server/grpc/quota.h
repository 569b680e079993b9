// SPDX-License-Identifier: Apache-2.0
// So much of something for all together, and of that a share for each certificate: so that one
// holder, gone bad or wrong, leaves the others theirs. Who comes over the unix socket owns the data
// anyway and has no limit but the whole's. Any thread; a quota outlives its tickets.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "server/access.h"

namespace sluice::rpc {

class Quota {
 public:
  struct Limits {
    uint64_t of_all;
    uint64_t of_one;   // certificate
    const char* what;  // "streams", for the error of who finds none left
    const char* cure;
  };

  // A part of it, given back when it dies. An empty one is none.
  class Ticket {
   public:
    Ticket() = default;
    Ticket(Ticket&& other) noexcept { *this = std::move(other); }
    Ticket& operator=(Ticket&& other) noexcept {
      std::swap(quota_, other.quota_);
      std::swap(name_, other.name_);
      std::swap(amount_, other.amount_);
      return *this;
    }
    ~Ticket() {
      if (quota_ != nullptr) quota_->Leave(name_, amount_);
    }

   private:
    friend class Quota;
    Ticket(Quota& quota, std::string name, uint64_t amount)
        : quota_(&quota), name_(std::move(name)), amount_(amount) {}
    Quota* quota_ = nullptr;
    std::string name_;  // of the certificate; empty: of none
    uint64_t amount_ = 0;
  };

  explicit Quota(const Limits& limits) : limits_(limits) {}
  Quota(const Quota&) = delete;
  Quota& operator=(const Quota&) = delete;

  // ResourceExhausted, with a text for the caller, if not so much is left.
  absl::StatusOr<Ticket> Enter(const Identity& who, uint64_t amount = 1);

 private:
  void Leave(const std::string& name, uint64_t amount);

  const Limits limits_;
  std::mutex mutex_;                                     // not absl's: see call.h
  uint64_t taken_ = 0;                                   // guarded by mutex_
  absl::flat_hash_map<std::string, uint64_t> taken_by_;  // guarded by mutex_; by certificate
};

}  // namespace sluice::rpc
