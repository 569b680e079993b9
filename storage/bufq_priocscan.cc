// SPDX-License-Identifier: Apache-2.0
// priocscan: three classes by Bio::prio, each a cyclic scan with a position of its own. The most
// urgent class that has requests and some of its burst left is served, and a request taken while
// another class waits uses up one of the burst. When all that wait have used theirs up, every burst
// starts anew; so a less urgent class gets its part too. Source: NetBSD's bufq_priocscan.
#include "core/check.h"
#include "storage/bufq_order.h"
#include "storage/bufq_strategies.h"

namespace sluice {
namespace {

constexpr int kClasses = 3;
constexpr uint32_t kBursts[kClasses] = {64, 16, 4};  // requests, by class

class Priocscan final : public BufqPolicy {
 public:
  explicit Priocscan(const BufqOptions& options)
      : classes_{BufqSweep(options), BufqSweep(options), BufqSweep(options)} {}

  void Put(Bio& bio) noexcept override {
    SLUICE_CHECK(bio.prio < kClasses);
    classes_[bio.prio].Put(bio);
  }

  Bio* Peek(uint64_t) noexcept override {
    const Choice choice = Choose();
    return choice.cls < 0 ? nullptr : classes_[choice.cls].Peek();
  }

  Bio* Get(uint64_t) noexcept override {
    const Choice choice = Choose();
    if (choice.cls < 0) return nullptr;
    if (choice.anew) std::copy(kBursts, kBursts + kClasses, left_);
    if (choice.contended) --left_[choice.cls];
    return classes_[choice.cls].Get();
  }

  void Cancel(Bio& bio) noexcept override { BufqSweep::Cancel(bio); }

 private:
  struct Choice {
    int cls;         // -1: nothing waits
    bool contended;  // several classes wait
    bool anew;       // and none has anything left
  };

  Choice Choose() const noexcept {
    int waiting = 0, first = -1, with_burst = -1;
    for (int cls = kClasses - 1; cls >= 0; --cls) {
      if (classes_[cls].empty()) continue;
      ++waiting;
      first = cls;
      if (left_[cls] > 0) with_burst = cls;
    }
    if (waiting < 2) return {first, false, false};
    if (with_burst < 0) return {first, true, true};
    return {with_burst, true, false};
  }

  BufqSweep classes_[kClasses];
  uint32_t left_[kClasses] = {kBursts[0], kBursts[1], kBursts[2]};
};

std::unique_ptr<BufqPolicy> Make(const BufqOptions& options) {
  return std::make_unique<Priocscan>(options);
}

}  // namespace

const BufqStrategy kBufqPriocscan = {
    "priocscan", "three priority classes, one elevator each, bursts of 64, 16 and 4", Make};

}  // namespace sluice
