// SPDX-License-Identifier: Apache-2.0
// What is served: disks, the volumes over them, and on which reactor each lives. Built and checked
// as a whole from plain structs; the result is immutable, owns every target, and ends volumes
// before what they stand on.
//
// To change what is served another topology is built beside it, which shares with the old one what
// stays as it is; a target ends when no topology and nobody else holds it any more.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/target.h"
#include "storage/label.h"

namespace sluice {

struct DiskSpec {
  enum class Kind : uint8_t { kPath, kMemory, kNull };

  std::string name;
  Kind kind = Kind::kPath;
  std::string path;  // kPath
  uint64_t size_bytes =
      0;  // kMemory, kNull: the size; kPath: make a missing file of this size, 0: it must exist
  std::string bufq;             // empty: the default
  uint64_t cylinder_bytes = 0;  // sort by cylinder of this size; 0: by raw block
  uint32_t depth = 0;           // 0: the device's
  uint32_t block_size = 0;      // bytes; 0: the device's
  uint32_t io_timeout_s = 0;    // 0: the limit for all disks
  bool buffered = false;
  bool read_only = false;
  bool gather = true;
  bool no_links = false;  // kPath: refuse a path with symbolic links in it
};

struct VolumeSpec {
  enum class Kind : uint8_t { kSlice, kConcat, kStripe };

  std::string name;
  Kind kind = Kind::kConcat;
  std::vector<std::string> legs;  // names of disks or volumes; a slice has one
  uint64_t offset_bytes = 0;      // kSlice
  uint64_t size_bytes = 0;        // kSlice
  uint64_t chunk_bytes = 0;       // kStripe
  // kConcat: what it has of each leg but the last, bytes; of those not said, what they have when it
  // is built. A leg may be longer, and what lies behind it stays where it is.
  std::vector<uint64_t> leg_bytes = {};
  bool operator==(const VolumeSpec&) const = default;
};

struct TopologySpec {
  std::vector<DiskSpec> disks;
  std::vector<VolumeSpec> volumes;  // in any order
};

inline constexpr uint64_t kMinChunkBytes = 64 * uint64_t{1024};
inline constexpr int kMaxVolumeDepth = 4;    // volumes over volumes
inline constexpr size_t kMaxLegs = 64;       // of one volume
inline constexpr size_t kMaxChildren = 256;  // bios that one request may become, all levels

// Everything that can be known before a disk is opened: names unique and not empty, references
// known, no cycle, depth, each leg used once (slices may share theirs, if they do not overlap),
// chunks a power of two, no more sizes than legs. InvalidArgument, in the form `volume "NAME": KEY:
// what is wrong`, KEY a field of VolumeSpec or DiskSpec by its name in the config. Pure; any
// thread.
absl::Status CheckTopology(const TopologySpec& spec);

// Opens disks, and knows the threads they live on. The seam for tests, and where the process
// chooses media and options. Outlives what it opened. The defaults are for one thread.
class DiskFactory {
 public:
  virtual ~DiskFactory() = default;
  // The target's home() is `home`, or kNoHome if it needs none. May block.
  virtual absl::StatusOr<std::unique_ptr<Target>> Open(const DiskSpec& spec, uint16_t home) = 0;

  // Runs `work` on reactor `home` and returns when that is done.
  virtual void RunOn(uint16_t home, absl::FunctionRef<void()> work) {
    static_cast<void>(home);
    work();
  }
  // Makes `disk`, one of this factory's that has a home, live on `home`. REQUIRES: nobody uses it.
  virtual void Move(Target& disk, uint16_t home) = 0;
  // The last one let go of `target`: ends it where that may be done, then lets go of `legs`, on
  // which it stood. Any thread; must not block.
  virtual void Retire(std::unique_ptr<Target> target, std::vector<std::shared_ptr<Target>> legs) {
    target.reset();
    legs.clear();
  }
};

class LabelGuard;

class Topology {
 public:
  // Checks `spec`, deals the disks to reactors 0 .. reactors - 1 in turn (disks joined by a volume
  // go to one), opens them and builds the volumes. What was opened is closed again if a later step
  // fails. Blocks; control thread. REQUIRES: reactors > 0.
  //
  // With `old`, what is the same is shared: its disks, by name, whatever else their specs say now;
  // volumes of equal specs over shared legs, slices also if they are longer now. Those whose legs
  // have grown, or which are longer, grow when this is adopted; FailedPrecondition if that would
  // move what they hold (a leg of a concat that is not its last). Disks that a volume joins anew
  // are moved to one reactor. REQUIRES, then: nobody uses what old->MovedBy(spec) names.
  static absl::StatusOr<std::unique_ptr<const Topology>> Build(const TopologySpec& spec,
                                                               uint16_t reactors,
                                                               DiskFactory& factory,
                                                               const Topology* old = nullptr);

  // The disks and volumes here that a topology of `spec` would move to another reactor.
  absl::StatusOr<std::vector<std::string>> MovedBy(const TopologySpec& spec,
                                                   uint16_t reactors) const;

  // Says in `spec`, which this was built from, what it left unsaid: VolumeSpec::leg_bytes.
  void RecordLegs(TopologySpec& spec) const;

  // Whether the disk or volume `name` may grow: FailedPrecondition if that would move what a volume
  // holds.
  absl::Status CheckGrowth(absl::string_view name) const;

  // Makes what this topology shares with an older one as it is to be: guards protect the slices
  // that it has itself, and volumes grow, also while they are used. Before the rest is used.
  // Blocks.
  void Adopt(DiskFactory& factory) const;

  // REQUIRES: no bio and no query is under way in any target that it is the last to hold.
  ~Topology();
  Topology(const Topology&) = delete;
  Topology& operator=(const Topology&) = delete;

  // A disk or volume by its name; null if there is none. A disk with slices is found behind its
  // label guard.
  Target* Find(absl::string_view name) const { return Share(name).get(); }
  std::shared_ptr<Target> Share(absl::string_view name) const;
  // That disk or volume and all that it stands on. REQUIRES: there is one of that name.
  std::vector<std::string> StandsOn(absl::string_view name) const;
  // What the factory opened for a disk, without a guard; null if there is no such disk.
  std::shared_ptr<Target> Disk(absl::string_view name) const;

 private:
  // A disk or a volume.
  struct Node {
    std::shared_ptr<Target> disk;  // null: a volume
    LabelGuard* guard = nullptr;   // before the disk, if it has or had slices
    std::vector<Place> slices;     // of the disk
    std::shared_ptr<Target> top;   // what others stand on: the disk, its guard, or the volume
    VolumeSpec spec;               // of a volume, and
    std::vector<std::shared_ptr<Target>> legs;
    uint64_t size = 0;  // when the topology is adopted
  };
  class Builder;

  Topology() = default;
  const Node* FindNode(absl::string_view name) const;

  std::vector<std::shared_ptr<Target>> targets_;  // each after those it stands on
  std::map<std::string, Node> nodes_;
};

}  // namespace sluice
