// SPDX-License-Identifier: Apache-2.0
// Specs in few words, and a factory of disks in memory.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/units.h"
#include "storage/topology.h"
#include "tests/storage/fake_target.h"

namespace sluice {

inline DiskSpec Memory(const std::string& name, uint64_t size) {
  DiskSpec disk;
  disk.name = name;
  disk.kind = DiskSpec::Kind::kMemory;
  disk.size_bytes = size;
  return disk;
}
inline DiskSpec Null(const std::string& name) {
  DiskSpec disk = Memory(name, kMiB);
  disk.kind = DiskSpec::Kind::kNull;
  return disk;
}
inline VolumeSpec Concat(const std::string& name, std::vector<std::string> legs) {
  VolumeSpec volume;
  volume.name = name;
  volume.kind = VolumeSpec::Kind::kConcat;
  volume.legs = std::move(legs);
  return volume;
}
// One that has so many bytes of each leg but the last.
inline VolumeSpec Concat(const std::string& name, std::vector<std::string> legs,
                         std::vector<uint64_t> bytes) {
  VolumeSpec volume = Concat(name, std::move(legs));
  volume.leg_bytes = std::move(bytes);
  return volume;
}
inline VolumeSpec Stripe(const std::string& name, std::vector<std::string> legs,
                         uint64_t chunk = kMinChunkBytes) {
  VolumeSpec volume = Concat(name, std::move(legs));
  volume.kind = VolumeSpec::Kind::kStripe;
  volume.chunk_bytes = chunk;
  return volume;
}
inline VolumeSpec Slice(const std::string& name, const std::string& of, uint64_t offset,
                        uint64_t size) {
  VolumeSpec volume = Concat(name, {of});
  volume.kind = VolumeSpec::Kind::kSlice;
  volume.offset_bytes = offset;
  volume.size_bytes = size;
  return volume;
}

// Disks of memory; remembers where it was asked to put them, and the order in which they died.
class FakeFactory final : public DiskFactory {
 public:
  class Disk final : public Target {
   public:
    Disk(FakeFactory& factory, const DiskSpec& spec, uint16_t home)
        : fake(spec.size_bytes, home), factory_(factory), name_(spec.name) {}
    ~Disk() override { factory_.closed.push_back(name_); }
    uint16_t home() const noexcept override { return fake.home(); }
    const Limits& limits() const noexcept override { return fake.limits(); }
    void Strategy(Bio& bio) noexcept override { fake.Strategy(bio); }
    void Cancel(Bio& bio) noexcept override { fake.Cancel(bio); }
    void QueryExtents(ExtentQuery& query) noexcept override { fake.QueryExtents(query); }
    FakeTarget fake;

   private:
    FakeFactory& factory_;
    const std::string name_;
  };

  absl::StatusOr<std::unique_ptr<Target>> Open(const DiskSpec& spec, uint16_t home) override {
    homes[spec.name] = home;
    if (spec.name == unopenable) return absl::NotFoundError("no such file");
    auto disk = std::make_unique<Disk>(*this, spec, home);
    if (logical_blocks.contains(spec.name)) {
      disk->fake.mutable_limits().logical_block = logical_blocks[spec.name];
    }
    disk->fake.mutable_limits().children = children;
    disks[spec.name] = &disk->fake;
    return disk;
  }
  void Move(Target& disk, uint16_t home) override { static_cast<Disk&>(disk).fake.MoveTo(home); }

  std::string unopenable;
  std::map<std::string, uint32_t> logical_blocks;
  uint16_t children = 0;
  std::map<std::string, uint16_t> homes;
  std::map<std::string, FakeTarget*> disks;
  std::vector<std::string> closed;
};

}  // namespace sluice
