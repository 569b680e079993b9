// SPDX-License-Identifier: Apache-2.0
// A certificate's share of what all have together: so that one holder, gone bad or wrong, leaves
// the others theirs. Who comes over the unix socket owns the data anyway and has no limit but the
// whole's. Any thread; a quota outlives its tickets.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "server/access.h"

namespace sluice::rpc {

class Quota {
 public:
  // One of a holder's share, given back when it dies. An empty one is none.
  class Ticket {
   public:
    Ticket() = default;
    Ticket(Ticket&& other) noexcept { *this = std::move(other); }
    Ticket& operator=(Ticket&& other) noexcept {
      std::swap(quota_, other.quota_);
      std::swap(name_, other.name_);
      return *this;
    }
    ~Ticket() {
      if (quota_ != nullptr) quota_->Leave(name_);
    }
    explicit operator bool() const { return quota_ != nullptr; }

   private:
    friend class Quota;
    Ticket(Quota& quota, std::string name) : quota_(&quota), name_(std::move(name)) {}
    Quota* quota_ = nullptr;
    std::string name_;  // of the certificate; empty: not counted
  };

  explicit Quota(uint32_t of_one) : of_one_(of_one) {}
  Quota(const Quota&) = delete;
  Quota& operator=(const Quota&) = delete;

  // Empty if that certificate has its share already.
  Ticket Enter(const Identity& who) {
    if (who.kind != Identity::Kind::kCertificate) return {*this, ""};
    const std::lock_guard<std::mutex> lock(mutex_);
    uint32_t& inside = inside_[who.name];
    if (inside == of_one_) return {};
    ++inside;
    return {*this, who.name};
  }
  uint32_t of_one() const { return of_one_; }

 private:
  void Leave(const std::string& name) {
    if (name.empty()) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = inside_.find(name);
    if (--found->second == 0) inside_.erase(found);
  }

  const uint32_t of_one_;
  std::mutex mutex_;                                   // not absl's: see call.h
  absl::flat_hash_map<std::string, uint32_t> inside_;  // guarded by mutex_; by certificate
};

}  // namespace sluice::rpc
