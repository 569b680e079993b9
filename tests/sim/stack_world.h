// SPDX-License-Identifier: Apache-2.0
// The whole stack in one thread: NBD sessions and submitters of bios, volumes, disks and faulty
// drives on two manual reactors; what there is, what fails and in which order things happen is
// drawn from one seed. Every answer is checked against a StackModel, and at the end everything must
// have been answered once and given back.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/reactor.h"
#include "storage/disk.h"
#include "storage/geometry.h"
#include "storage/volume.h"
#include "tests/sim/faulty_medium.h"
#include "tests/sim/lying_medium.h"
#include "tests/sim/rng.h"
#include "tests/sim/stack_model.h"

namespace sluice::sim {

struct StackOptions {
  uint64_t seed = 1;
  uint32_t ops = 2000;  // requests
  Lie lie = Lie::kNone;
};
struct StackResult {
  std::string failure;  // empty: all promises were kept
  std::string summary;  // what was drawn and done
  uint64_t answered = 0;
  std::map<std::string, uint64_t> reached;  // corners of the stack, and how often
};
StackResult RunStack(const StackOptions& options);

// A request as its client sees it. Sectors are of 512 bytes.
struct StackOp {
  Op op = Op::kRead;
  uint64_t first = 0;
  uint64_t count = 0;
  uint8_t flags = 0;  // kFua, kNoHole, kFastZero
  Effect effect;      // of a write type
  uint64_t begin = 0;
};

// Where one client was last in a volume, and the stream of adjacent requests that it is sending.
struct StackStream {
  uint64_t near = 0;
  Op op = Op::kRead;
  uint64_t left = 0;  // requests
};

class StackVolume;
class StackWorld;

// Whoever sends requests. Called on its reactor, inside a turn.
class StackClient {
 public:
  virtual ~StackClient() = default;
  virtual uint16_t reactor() const = 0;
  // Sends up to `most` requests, or takes some in, or leaves; whatever its dice say.
  virtual void Act(uint32_t most) = 0;
  // Takes in what there is, and sends nothing.
  virtual void Drain() = 0;
  virtual void Leave() = 0;        // the client is gone; what it sent may still be under way
  virtual bool quiet() const = 0;  // nothing is
  virtual void Close() = 0;        // REQUIRES: quiet()
};
std::unique_ptr<StackClient> MakeSubmitter(StackWorld& world, uint16_t reactor);
std::unique_ptr<StackClient> MakeSession(StackWorld& world, StackVolume& volume, uint16_t reactor);

// A volume, its model, and where its clients like to be.
class StackVolume {
 public:
  StackVolume(Target& volume, uint64_t sectors) : target(volume), model(sectors) {}
  Target& target;
  StackModel model;
  std::vector<bool> bad;  // sectors that cannot be read or written
};

class StackWorld {
 public:
  explicit StackWorld(const StackOptions& options);
  ~StackWorld();
  StackWorld(const StackWorld&) = delete;
  StackWorld& operator=(const StackWorld&) = delete;

  StackResult Run();

  // --- for clients ---
  Rng& rng() { return rng_; }
  Reactor& reactor(uint16_t id) { return set_->at(id); }
  std::vector<std::unique_ptr<StackVolume>>& volumes() { return volumes_; }
  uint64_t Tick() { return ++now_; }
  void Fail(const std::string& why);
  // A request to send now: known to the model from here on.
  StackOp Draw(StackVolume& volume, StackStream& stream);
  std::string Payload(const StackOp& op) const;
  // Its answer. `data`: what a read gave.
  void Answered(StackVolume& volume, const StackOp& op, int error, const std::string& data);
  // It will not be answered, and nobody works on it any more.
  void Dropped(StackVolume& volume, const StackOp& op);

 private:
  enum class Errors : uint8_t {
    kNone,
    kBadBlocks,  // that cannot be read or written; all else works
    kRandom,     // of any operation
    kHang,       // drives stand still at times, for longer than the disks wait
  };
  // A target and what it stands on.
  struct Node {
    Target* target = nullptr;
    const Geometry* geometry = nullptr;  // null: a disk
    size_t disk = 0;
    std::vector<Node> legs = {};
  };
  struct Drive {
    FaultyMedium* medium;
    Disk* disk;
    std::string bad;  // "b" for each byte of a bad block
  };

  FaultyOptions DrawDrive();
  Node MakeDisk(uint16_t home);
  Node MakeVolume(absl::StatusOr<std::unique_ptr<const Geometry>> geometry, std::vector<Node> legs);
  Node MakeTree(uint16_t home);
  template <typename F>
  std::string Image(const Node& node, F&& of_drive) const;
  void MakeClients();

  void On(uint16_t reactor, absl::AnyInvocable<void()> work);
  void Step();
  static Errors DrawErrors(Rng& rng, Lie lie);
  void DrawKind(StackOp& op, StackStream& stream);
  void DrawRange(StackOp& op, StackStream& stream, uint64_t sectors);
  void SwapStrategy();
  void HoldOrRelease();
  void CountReached(StackResult& result) const;
  void CutPower();
  bool Settle();  // until all clients are quiet; false if that does not come
  void CheckEnd();
  bool Allowed(const StackVolume& volume, const StackOp& op, int error) const;
  static bool TouchesBad(const StackVolume& volume, const StackOp& op);

  const StackOptions options_;
  Rng rng_;
  Errors errors_;
  uint64_t now_ = 1;
  uint32_t values_ = 0;
  uint32_t sent_ = 0;
  uint64_t answered_ = 0;
  std::string failure_;
  std::string drawn_;

  ManualClock clock_;
  std::vector<ManualPoller*> pollers_;
  std::unique_ptr<ReactorSet> set_;
  std::vector<Drive> drives_;
  std::vector<std::unique_ptr<Target>> targets_;  // each after those it stands on
  std::vector<Node> trees_;                       // of the volumes
  std::vector<std::unique_ptr<StackVolume>> volumes_;
  std::vector<std::unique_ptr<StackClient>> clients_;
};

}  // namespace sluice::sim
