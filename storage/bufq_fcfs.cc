// SPDX-License-Identifier: Apache-2.0
// fcfs: first come, first served. One list; every call takes constant time. For flash, where order
// does not matter to the device.
#include "storage/bufq_strategies.h"

namespace sluice {
namespace {

class Fcfs final : public BufqPolicy {
 public:
  void Put(Bio& bio) noexcept override { fifo_.push_back(bio); }

  Bio* Peek(uint64_t) noexcept override { return fifo_.empty() ? nullptr : &fifo_.front(); }

  Bio* Get(uint64_t now_ns) noexcept override {
    Bio* bio = Peek(now_ns);
    if (bio != nullptr) fifo_.pop_front();
    return bio;
  }

  void Cancel(Bio& bio) noexcept override { fifo_.erase(BioFifo::s_iterator_to(bio)); }

 private:
  BioFifo fifo_;
};

std::unique_ptr<BufqPolicy> Make(const BufqOptions&) { return std::make_unique<Fcfs>(); }

}  // namespace

const BufqStrategy kBufqFcfs = {"fcfs", "first come, first served", Make};

}  // namespace sluice
