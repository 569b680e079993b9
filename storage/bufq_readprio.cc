// SPDX-License-Identifier: Apache-2.0
// readprio: reads before writes, because somebody waits for a read. Reads are served first come,
// first served, writes in a cyclic scan. After kReadBurst reads in a row while a write waited come
// kWriteShare writes; when one kind runs out, the other is served freely and the count starts anew.
// Source: NetBSD's bufq_readprio, by its documented policy.
#include "storage/bufq_order.h"
#include "storage/bufq_strategies.h"

namespace sluice {
namespace {

constexpr uint32_t kReadBurst = 48;   // reads in a row while a write waits
constexpr uint32_t kWriteShare = 16;  // then writes, while a read waits

class Readprio final : public BufqPolicy {
 public:
  explicit Readprio(const BufqOptions& options) : writes_(options) {}

  void Put(Bio& bio) noexcept override {
    if (IsWriteType(bio.op)) {
      writes_.Put(bio);
    } else {
      reads_.push_back(bio);
    }
  }

  Bio* Peek(uint64_t) noexcept override {
    if (!ReadIsNext()) return writes_.Peek();
    return &reads_.front();
  }

  Bio* Get(uint64_t now_ns) noexcept override {
    Bio* bio = Peek(now_ns);
    if (bio == nullptr) return nullptr;
    const bool contended = Contended();
    if (ReadIsNext()) {
      reads_.pop_front();
    } else {
      writes_.Get();
    }
    turn_ = contended ? (turn_ + 1) % (kReadBurst + kWriteShare) : 0;
    return bio;
  }

  void Cancel(Bio& bio) noexcept override {
    if (IsWriteType(bio.op)) {
      BufqSweep::Cancel(bio);
    } else {
      reads_.erase(BioFifo::s_iterator_to(bio));
    }
  }

 private:
  bool Contended() const noexcept { return !reads_.empty() && !writes_.empty(); }
  bool ReadIsNext() const noexcept { return Contended() ? turn_ < kReadBurst : !reads_.empty(); }

  BioFifo reads_;
  BufqSweep writes_;
  uint32_t turn_ = 0;  // requests served since both kinds wait, modulo a burst and a share
};

std::unique_ptr<BufqPolicy> Make(const BufqOptions& options) {
  return std::make_unique<Readprio>(options);
}

}  // namespace

const BufqStrategy kBufqReadprio = {"readprio", "reads in order before sorted writes, 48 to 16",
                                    Make};

}  // namespace sluice
