// SPDX-License-Identifier: Apache-2.0
// fair: weighted deficit round robin over flows. The flows that have requests or debts stand in a
// ring. The one in front is served, first come, first served, as long as it has credit; then it
// gets a turn's worth of credit, kTurnBytes times its weight, and goes to the back. A request costs
// its length, at least kCostMin and at most kCostMax. A carrier charges each rider's own flow. A
// flow leaves the ring when it has neither; so idling saves up nothing, and large requests one at a
// time do not outrun their debt. No debt exceeds kDebtTurns turns. Idle flows take no time; the
// table of all flows takes 2 MiB a queue. Source: Shreedhar and Varghese, Efficient fair queuing
// using deficit round robin, 1996.
#include <algorithm>

#include "core/units.h"
#include "storage/bufq_strategies.h"
#include "storage/carrier.h"

namespace sluice {
namespace {

constexpr int64_t kTurnBytes = 64 * kKiB;
constexpr int64_t kDebtTurns = 64;           // 4 MiB at weight 1: more than the longest request
constexpr uint32_t kCostMin = 4 * kKiB;      // what any request costs a device at least
constexpr uint32_t kCostMax = kMaxTransfer;  // longer ones are trims and zeroes, which move no data
constexpr size_t kFlows = size_t{1} << 16;   // Bio::flow

class Fair final : public BufqPolicy {
 public:
  explicit Fair(const BufqOptions& options) : flows_(std::make_unique<Flow[]>(kFlows)) {
    const size_t weighted = std::min(options.flow_weights.size(), kFlows);
    for (size_t i = 0; i < weighted; ++i) {
      flows_[i].weight = std::max(options.flow_weights[i], uint32_t{1});
    }
  }

  void Put(Bio& bio) noexcept override {
    Flow& flow = flows_[bio.flow];
    flow.fifo.push_back(bio);
    if (flow.in_ring) return;
    flow.credit += Turn(flow);
    PushBack(bio.flow);
  }

  Bio* Peek(uint64_t) noexcept override {
    while (ring_size_ > 0) {
      Flow& flow = flows_[front_];
      if (flow.fifo.empty() && flow.credit >= 0) {
        flow.credit = 0;
        PopFront();
      } else if (flow.credit > 0) {
        return &flow.fifo.front();
      } else {
        flow.credit += Turn(flow);
        PushBack(PopFront());
      }
    }
    return nullptr;
  }

  Bio* Get(uint64_t now_ns) noexcept override {
    Bio* bio = Peek(now_ns);
    if (bio == nullptr) return nullptr;
    flows_[front_].fifo.pop_front();
    ForEachRider(*bio, [this](const Bio& rider) { Charge(rider); });
    return bio;
  }

  // A flow that is empty now leaves the ring when it has come to the front.
  void Cancel(Bio& bio) noexcept override {
    flows_[bio.flow].fifo.erase(BioFifo::s_iterator_to(bio));
  }

 private:
  struct Flow {
    BioFifo fifo;
    int64_t credit = 0;  // bytes; negative: debt; 0 outside the ring
    uint32_t weight = 1;
    uint16_t behind = 0;  // the next flow in the ring
    bool in_ring = false;
  };
  static_assert(sizeof(Flow) == 32);

  static int64_t Turn(const Flow& flow) noexcept { return kTurnBytes * flow.weight; }

  void Charge(const Bio& bio) noexcept {
    Flow& flow = flows_[bio.flow];
    if (!flow.in_ring) PushBack(bio.flow);  // rides with others and has nothing of its own here
    flow.credit -= std::clamp(bio.length, kCostMin, kCostMax);
    flow.credit = std::max(flow.credit, -kDebtTurns * Turn(flow));
  }

  void PushBack(uint16_t id) noexcept {
    (ring_size_ == 0 ? front_ : flows_[back_].behind) = id;
    back_ = id;
    ++ring_size_;
    flows_[id].in_ring = true;
  }

  uint16_t PopFront() noexcept {
    const uint16_t id = front_;
    front_ = flows_[id].behind;
    --ring_size_;
    flows_[id].in_ring = false;
    return id;
  }

  std::unique_ptr<Flow[]> flows_;
  uint32_t ring_size_ = 0;  // flows
  uint16_t front_ = 0;
  uint16_t back_ = 0;
};

std::unique_ptr<BufqPolicy> Make(const BufqOptions& options) {
  return std::make_unique<Fair>(options);
}

}  // namespace

const BufqStrategy kBufqFair = {"fair", "equal or weighted shares for all flows", Make};

}  // namespace sluice
