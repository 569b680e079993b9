// SPDX-License-Identifier: Apache-2.0
// Submits bios to any volume, of its own reactor or of the other, and abandons some.
#include <algorithm>
#include <cerrno>
#include <map>

#include "core/bio.h"
#include "core/units.h"
#include "tests/sim/stack_world.h"

namespace sluice::sim {
namespace {

class Submitter final : public StackClient {
 public:
  Submitter(StackWorld& world, uint16_t reactor) : world_(world), reactor_(reactor) {}

  uint16_t reactor() const override { return reactor_; }

  void Act(uint32_t most) override {
    Rng& rng = world_.rng();
    if (rng.PerMille(100) && !pending_.empty()) {
      auto it = pending_.begin();
      std::advance(it, rng.Below(pending_.size()));
      GiveUp(*it->second);
    }
    if (pending_.size() > 24) return;
    for (uint64_t batch = std::min<uint64_t>(most, rng.Between(1, 12)); batch > 0; --batch) Send();
  }
  void Drain() override {}
  void Leave() override {
    for (auto& [serial, request] : pending_) GiveUp(*request);
  }
  bool quiet() const override { return pending_.empty(); }
  void Close() override {}

 private:
  struct Request {
    Bio bio;
    Callback callback;
    Segment segs[4];
    std::string memory;
    StackOp op;
    StackVolume* volume = nullptr;
    Submitter* owner = nullptr;
    uint64_t serial = 0;
    int answers = 0;
    bool abandoned = false;
  };

  void Send() {
    Rng& rng = world_.rng();
    auto& volumes = world_.volumes();
    const size_t chosen = rng.Below(volumes.size());
    auto made = std::make_unique<Request>();
    Request& request = *made;
    request.volume = volumes[chosen].get();
    request.owner = this;
    request.op = world_.Draw(*request.volume, streams_[chosen]);
    Bio& bio = request.bio;
    bio.target = &request.volume->target;
    bio.op = request.op.op;
    bio.offset = request.op.first * kSector;
    bio.length = static_cast<uint32_t>(request.op.count * kSector);
    bio.flags = request.op.flags;
    if (rng.PerMille(30)) bio.flags |= kNoGather;
    bio.prio = static_cast<uint8_t>(rng.PerMille(800) ? 1 : rng.Below(3));
    bio.flow = static_cast<uint16_t>(rng.Below(4));
    GiveMemory(request);
    bio.release = [](Bio& done) noexcept { RequestOf(done).owner->OnReleased(RequestOf(done)); };
    request.callback.run = [](Bio& done, void*) noexcept {
      RequestOf(done).owner->OnAnswered(RequestOf(done));
    };
    PushCallback(bio, request.callback);
    request.serial = ++serials_;
    pending_[request.serial] = std::move(made);
    Submit(bio);
  }

  // In one to four pieces, cut at any byte; drives take those of whole blocks as they are.
  void GiveMemory(Request& request) {
    if (!HasData(request.op.op)) return;
    Rng& rng = world_.rng();
    request.memory = request.op.op == Op::kWrite ? world_.Payload(request.op)
                                                 : std::string(request.op.count * kSector, '?');
    const uint64_t unit = rng.PerMille(100) ? 1 : kSector;
    uint64_t at = 0;
    uint16_t count = 0;
    for (const uint64_t size = request.memory.size(); at < size; ++count) {
      uint64_t part = size - at;
      if (count < 3 && rng.PerMille(400)) part = rng.Between(1, part / unit) * unit;
      request.segs[count] = {request.memory.data() + at, part};
      at += part;
    }
    request.bio.segs = request.segs;
    request.bio.seg_count = count;
  }

  void GiveUp(Request& request) {
    if (request.abandoned || request.answers > 0) return;
    request.abandoned = true;
    Abandon(request.bio);
  }

  void OnAnswered(Request& request) {
    if (++request.answers > 1) return world_.Fail("a callback ran twice");
    if (request.abandoned) return world_.Fail("an abandoned request's callback ran");
    if (Reactor::Current()->id() != reactor_) return world_.Fail("a callback ran away from home");
    world_.Answered(*request.volume, request.op, request.bio.error,
                    request.op.op == Op::kRead ? request.memory : std::string());
  }
  void OnReleased(Request& request) {
    if (request.answers == 0) {
      if (!request.abandoned) world_.Fail("a request was released without an answer");
      world_.Dropped(*request.volume, request.op);
    }
    if (pending_.erase(request.serial) != 1) world_.Fail("a bio was released twice");
  }

  static Request& RequestOf(Bio& bio) {
    static_assert(offsetof(Request, bio) == 0);
    return reinterpret_cast<Request&>(bio);
  }

  StackWorld& world_;
  const uint16_t reactor_;
  StackStream streams_[2];
  uint64_t serials_ = 0;
  std::map<uint64_t, std::unique_ptr<Request>> pending_;  // by serial
};

}  // namespace

std::unique_ptr<StackClient> MakeSubmitter(StackWorld& world, uint16_t reactor) {
  return std::make_unique<Submitter>(world, reactor);
}

}  // namespace sluice::sim
