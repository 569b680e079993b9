// SPDX-License-Identifier: Apache-2.0
// elevator: a scan in both directions. Upwards from where the last request ended to the highest
// that waits, then downwards to the lowest, and so on. What arrives where the scan has passed waits
// for the way back. Compared with disksort the long seek home is saved; the middle of the disk is
// passed more evenly than its ends.
#include "storage/bufq_order.h"

namespace sluice {
namespace {

class Elevator final : public BufqPolicy {
 public:
  explicit Elevator(const BufqOptions& options) : order_(options) {}

  void Put(Bio& bio) noexcept override {
    const bool ahead = up_ ? bio.offset >= position_ : bio.offset < position_;
    order_.Insert(ahead ? ahead_ : passed_, bio);
  }

  Bio* Peek(uint64_t) noexcept override {
    return ahead_.empty() ? Next(passed_, !up_) : Next(ahead_, up_);
  }

  Bio* Get(uint64_t) noexcept override {
    if (ahead_.empty()) {
      ahead_.swap(passed_);
      up_ = !up_;
    }
    Bio* bio = Next(ahead_, up_);
    if (bio == nullptr) return nullptr;
    RemoveFromTree(*bio);
    position_ = up_ ? order_.NextCylinder(*bio) : order_.FirstCylinder(*bio);
    return bio;
  }

  void Cancel(Bio& bio) noexcept override { RemoveFromTree(bio); }

 private:
  // Downwards, too, a cylinder is served first come, first served.
  Bio* Next(BufqTree& tree, bool up) const noexcept {
    if (up || tree.empty()) return FirstOf(tree);
    return BufqOrder::FirstFrom(tree, order_.FirstCylinder(*tree.rbegin()));
  }

  BufqOrder order_;
  BufqTree ahead_;   // this way
  BufqTree passed_;  // on the way back
  uint64_t position_ = 0;
  bool up_ = true;
};

std::unique_ptr<BufqPolicy> Make(const BufqOptions& options) {
  return std::make_unique<Elevator>(options);
}

}  // namespace
}  // namespace sluice

const sluice::BufqModule sluice_bufq_module = {
    sluice::kBufqAbi, sizeof(sluice::Bio), {"elevator", "a scan in both directions", sluice::Make}};
