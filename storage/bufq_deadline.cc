// SPDX-License-Identifier: Apache-2.0
// deadline: sorted batches with a limit on waiting. Reads and writes are kept apart, each both by
// offset and by arrival. A batch serves one direction upwards from where that direction last ended,
// at most kBatch requests, and ends early behind the highest. A new batch prefers reads, until they
// were preferred kWritesStarved times while a write waited. It goes on where its direction ended,
// unless that direction's oldest request has expired or nothing lies ahead: then it starts at the
// oldest. A request's age counts from Bio::born_ns, so it survives a change of strategy.
// Source: Linux, mq-deadline.
#include "core/units.h"
#include "storage/bufq_order.h"
#include "storage/bufq_strategies.h"

namespace sluice {
namespace {

constexpr uint64_t kExpireNs[] = {500 * kMillisecond, 5 * kSecond};  // reads, writes
constexpr uint32_t kWritesStarved = 2;                               // batches of reads
constexpr uint32_t kBatch = 16;                                      // requests

class Deadline final : public BufqPolicy {
 public:
  explicit Deadline(const BufqOptions& options) : order_(options) {}

  void Put(Bio& bio) noexcept override {
    Direction& direction = directions_[IsWriteType(bio.op)];
    direction.fifo.push_back(bio);
    order_.Insert(direction.sorted, bio);
  }

  Bio* Peek(uint64_t now_ns) noexcept override { return Choose(now_ns).bio; }

  Bio* Get(uint64_t now_ns) noexcept override {
    const Choice choice = Choose(now_ns);
    if (choice.bio == nullptr) return nullptr;
    if (choice.new_batch) {
      if (choice.way == kWrites) {
        starved_ = 0;
      } else if (!directions_[kWrites].fifo.empty()) {
        ++starved_;
      }
      way_ = choice.way;
      batch_left_ = kBatch;
    }
    --batch_left_;
    directions_[choice.way].position = order_.LastCylinder(*choice.bio);
    Cancel(*choice.bio);
    return choice.bio;
  }

  void Cancel(Bio& bio) noexcept override {
    Direction& direction = directions_[IsWriteType(bio.op)];
    direction.fifo.erase(BioFifo::s_iterator_to(bio));
    RemoveFromTree(bio);
  }

 private:
  enum Way : uint8_t { kReads, kWrites };
  struct Direction {
    BioFifo fifo;
    BufqTree sorted;
    uint64_t position = 0;  // begin of the cylinder that it was last in
  };
  struct Choice {
    Bio* bio;
    Way way;
    bool new_batch;
  };

  Choice Choose(uint64_t now_ns) noexcept {
    if (batch_left_ > 0) {
      Direction& current = directions_[way_];
      Bio* next = BufqOrder::FirstFrom(current.sorted, current.position);
      if (next != nullptr) return {next, way_, false};
    }
    const bool reads = !directions_[kReads].fifo.empty();
    const bool writes = !directions_[kWrites].fifo.empty();
    if (!reads && !writes) return {nullptr, kReads, false};
    const Way way = reads && !(writes && starved_ >= kWritesStarved) ? kReads : kWrites;
    Direction& direction = directions_[way];
    Bio& oldest = direction.fifo.front();
    Bio* next = BufqOrder::FirstFrom(direction.sorted, direction.position);
    const bool expired = now_ns >= oldest.born_ns + kExpireNs[way];
    return {next == nullptr || expired ? &oldest : next, way, true};
  }

  BufqOrder order_;
  Direction directions_[2];
  Way way_ = kReads;         // of the batch
  uint32_t batch_left_ = 0;  // requests
  uint32_t starved_ = 0;     // batches of reads begun while a write waited
};

std::unique_ptr<BufqPolicy> Make(const BufqOptions& options) {
  return std::make_unique<Deadline>(options);
}

}  // namespace

const BufqStrategy kBufqDeadline = {
    "deadline", "sorted batches, reads first, none waits past its expiry for long", Make};

}  // namespace sluice
