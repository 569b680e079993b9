// SPDX-License-Identifier: Apache-2.0
#include "storage/bufq.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/check.h"

namespace sluice {

absl::StatusOr<std::unique_ptr<Bufq>> Bufq::Alloc(absl::string_view name, uint8_t flags,
                                                  const BufqOptions& options) {
  if (options.cylinder_bytes == 0 || options.cylinder_bytes > kCylinderBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("cylinder_bytes ", options.cylinder_bytes, " is not in [1, 2^62]"));
  }
  const absl::StatusOr<BufqRegistry::Entry*> entry = BufqRegistry::Get().Acquire(name, flags);
  if (!entry.ok()) return entry.status();
  return std::unique_ptr<Bufq>(new Bufq(**entry, (*entry)->strategy.make(options)));
}

Bufq::Bufq(BufqRegistry::Entry& entry, std::unique_ptr<BufqPolicy> policy)
    : entry_(entry), policy_(std::move(policy)) {
  SLUICE_CHECK(policy_ != nullptr);
}

Bufq::~Bufq() {
  SLUICE_CHECK(empty());
  policy_.reset();
  BufqRegistry::Get().Release(entry_);
}

absl::string_view Bufq::strategy_name() const { return entry_.strategy.name; }

void Bufq::Put(Bio& bio) noexcept {
  SLUICE_CHECK(bio.where != Where::kBufq);
  bio.where = Where::kBufq;
  peeked_ = false;
  ++size_;
  policy_->Put(bio);
}

Bio* Bufq::Get(uint64_t now_ns) noexcept {
  if (empty()) return nullptr;
  Bio* bio = policy_->Get(Now(now_ns));
  SLUICE_CHECK(bio != nullptr && bio->where == Where::kBufq);
  bio->where = Where::kSubmitter;
  peeked_ = false;
  --size_;
  return bio;
}

Bio* Bufq::Peek(uint64_t now_ns) noexcept {
  if (empty()) return nullptr;
  peeked_at_ns_ = Now(now_ns);
  peeked_ = true;
  return policy_->Peek(peeked_at_ns_);
}

void Bufq::Cancel(Bio& bio) noexcept {
  SLUICE_CHECK(bio.where == Where::kBufq && size_ > 0);
  policy_->Cancel(bio);
  bio.where = Where::kSubmitter;
  peeked_ = false;
  --size_;
}

void Bufq::Move(Bufq& from, Bufq& to, uint64_t now_ns) noexcept {
  SLUICE_CHECK(&from != &to);
  from.Drain(now_ns, [&to](Bio& bio) { to.Put(bio); });
}

}  // namespace sluice
