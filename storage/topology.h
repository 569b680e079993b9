// SPDX-License-Identifier: Apache-2.0
// What is served: disks, the volumes over them, and on which reactor each lives. Built and checked
// as a whole from plain structs; the result is immutable, owns every target, and ends volumes
// before what they stand on.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/target.h"

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
};

struct VolumeSpec {
  enum class Kind : uint8_t { kSlice, kConcat, kStripe };

  std::string name;
  Kind kind = Kind::kConcat;
  std::vector<std::string> legs;  // names of disks or volumes; a slice has one
  uint64_t offset_bytes = 0;      // kSlice
  uint64_t size_bytes = 0;        // kSlice
  uint64_t chunk_bytes = 0;       // kStripe
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
// chunks a power of two. InvalidArgument, in the form `volume "NAME": KEY: what is wrong`, KEY a
// field of VolumeSpec or DiskSpec by its name in the config. Pure; any thread.
absl::Status CheckTopology(const TopologySpec& spec);

// Opens disks. The seam for tests, and where the process chooses media and options.
class DiskFactory {
 public:
  virtual ~DiskFactory() = default;
  // The target's home() is `home`, or kNoHome if it needs none. May block.
  virtual absl::StatusOr<std::unique_ptr<Target>> Open(const DiskSpec& spec, uint16_t home) = 0;
};

class Topology {
 public:
  // Checks `spec`, deals the disks to reactors 0 .. reactors - 1 in turn (disks joined by a volume
  // go to one), opens them and builds the volumes. What was opened is closed again if a later step
  // fails. Blocks; control thread. REQUIRES: reactors > 0.
  static absl::StatusOr<std::unique_ptr<const Topology>> Build(const TopologySpec& spec,
                                                               uint16_t reactors,
                                                               DiskFactory& factory);

  // REQUIRES: no bio and no query is under way in any of its targets.
  ~Topology();
  Topology(const Topology&) = delete;
  Topology& operator=(const Topology&) = delete;

  // A disk or volume by its name; null if there is none. A disk with slices is found behind its
  // label guard.
  Target* Find(absl::string_view name) const;

 private:
  Topology() = default;

  std::vector<std::unique_ptr<Target>> targets_;  // each after those it stands on
  std::map<std::string, Target*> by_name_;
};

}  // namespace sluice
