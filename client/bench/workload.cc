// SPDX-License-Identifier: Apache-2.0
#include "client/bench/workload.h"

#include "client/bench/coverage.h"

namespace sluice::bench {
namespace {

__extension__ using Wide = unsigned __int128;

// The first block of part `index`; the parts differ by at most one block.
uint64_t PartBegin(const Options& options, const Region& region, uint32_t index) {
  const uint64_t whole = region.blocks / options.connections;
  const uint64_t rest = region.blocks % options.connections;
  return whole * index + (index < rest ? index : rest);
}

}  // namespace

Workload Workload::Load(const Options& options, const Region& region, uint32_t index,
                        uint64_t count) {
  Workload load;
  load.left_ = count;
  load.random_ = options.seed * 0x9e3779b97f4a7c15 + index;
  load.random_order_ = options.mode.random;
  load.begin_ = load.random_order_ ? 0 : PartBegin(options, region, index);
  load.end_ = load.random_order_ ? region.blocks : PartBegin(options, region, index + 1);
  load.at_ = load.begin_;
  load.change_ = options.mode.change;
  load.read_percent_ = options.reads();
  return load;
}

Workload Workload::ReadBack(const Options& options, const Region& region, uint32_t index,
                            const Coverage& coverage) {
  Workload load;
  load.begin_ = PartBegin(options, region, index);
  load.end_ = PartBegin(options, region, index + 1);
  load.left_ = load.end_ - load.begin_;
  load.at_ = load.begin_;
  load.coverage_ = &coverage;
  return load;
}

Workload Workload::Flush() {
  Workload load;
  load.left_ = 1;
  load.end_ = 1;
  load.change_ = nbd::Command::kFlush;
  load.read_percent_ = 0;
  return load;
}

// splitmix64 (Steele, Lea, Flood, OOPSLA 2014).
uint64_t Workload::Random() {
  uint64_t z = random_ += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

bool Workload::Next(Plan& plan) {
  if (coverage_ != nullptr) {
    while (left_ > 0 && !coverage_->Has(at_)) {
      ++at_;
      --left_;
    }
  }
  if (left_ == 0) return false;
  --left_;
  if (random_order_) {
    // The high half of the product: even, and without a division.
    plan.block = static_cast<uint64_t>((static_cast<Wide>(Random()) * end_) >> 64);
  } else {
    plan.block = at_;
    if (++at_ == end_ && coverage_ == nullptr) at_ = begin_;
  }
  const bool mixed = read_percent_ > 0 && read_percent_ < 100;
  const bool read = mixed ? Random() % 100 < read_percent_ : read_percent_ == 100;
  plan.command = read ? nbd::Command::kRead : change_;
  return true;
}

}  // namespace sluice::bench
