// SPDX-License-Identifier: Apache-2.0
// Disks with partition tables, made by the book (UEFI 5.2.1, 5.3.2, 5.3.3), for tests of what reads
// them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "storage/label.h"

namespace sluice {

using DiskBytes = std::vector<char>;
inline constexpr uint64_t kLba = 512;

inline void PutLittle(DiskBytes& disk, uint64_t at, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i)
    disk[at + static_cast<uint64_t>(i)] = static_cast<char>(value >> (8 * i));
}

// Bit by bit, by the definition.
inline uint32_t PlainCrc32(const char* bytes, size_t size) {
  uint32_t crc = ~0u;
  for (size_t i = 0; i < size * 8; ++i) {
    const uint32_t bit = static_cast<uint32_t>(bytes[i / 8] >> (i % 8) & 1) ^ (crc & 1);
    crc = crc >> 1 ^ (bit != 0 ? 0xEDB88320u : 0u);
  }
  return ~crc;
}

struct MbrEntry {
  uint8_t type;
  uint32_t first;
  uint32_t count;
};
inline void PutMbr(DiskBytes& disk, const std::vector<MbrEntry>& entries) {
  std::fill_n(disk.begin() + 446, 64, '\0');
  for (size_t i = 0; i < entries.size(); ++i) {
    const uint64_t at = 446 + 16 * i;
    PutLittle(disk, at + 4, entries[i].type, 1);
    PutLittle(disk, at + 8, entries[i].first, 4);
    PutLittle(disk, at + 12, entries[i].count, 4);
  }
  PutLittle(disk, 510, 0xAA55, 2);
}
inline void PutProtectiveMbr(DiskBytes& disk) { PutMbr(disk, {{0xEE, 1, 0xFFFFFFFF}}); }

// Writes the checksums that a header at `lba`, and the entries it names, should have.
inline void SignGpt(DiskBytes& disk, uint64_t lba, uint64_t entries_lba, uint64_t entries_bytes) {
  const uint64_t header = lba * kLba;
  PutLittle(disk, header + 88, PlainCrc32(&disk[entries_lba * kLba], entries_bytes), 4);
  PutLittle(disk, header + 16, 0, 4);
  PutLittle(disk, header + 16, PlainCrc32(&disk[header], 92), 4);
}

// One copy of a GPT: its header at `lba`, 128 entries at `entries_lba`. `partitions` in bytes,
// whole sectors.
inline void PutGptCopy(DiskBytes& disk, uint64_t lba, uint64_t entries_lba,
                       const std::vector<Place>& partitions) {
  const uint64_t header = lba * kLba;
  std::fill_n(disk.begin() + static_cast<ptrdiff_t>(header), kLba, '\0');
  std::memcpy(&disk[header], "EFI PART", 8);
  PutLittle(disk, header + 8, 0x00010000, 4);
  PutLittle(disk, header + 12, 92, 4);
  PutLittle(disk, header + 24, lba, 8);
  PutLittle(disk, header + 72, entries_lba, 8);
  PutLittle(disk, header + 80, 128, 4);
  PutLittle(disk, header + 84, 128, 4);
  std::fill_n(disk.begin() + static_cast<ptrdiff_t>(entries_lba * kLba), 128 * 128, '\0');
  for (size_t i = 0; i < partitions.size(); ++i) {
    const uint64_t entry = entries_lba * kLba + 128 * i;
    PutLittle(disk, entry, 0x0FC63DAF, 4);
    PutLittle(disk, entry + 16, i + 1, 4);
    PutLittle(disk, entry + 32, partitions[i].offset / kLba, 8);
    PutLittle(disk, entry + 40, (partitions[i].offset + partitions[i].size) / kLba - 1, 8);
  }
  SignGpt(disk, lba, entries_lba, 128 * 128);
}

inline void PutPrimary(DiskBytes& disk, const std::vector<Place>& partitions) {
  PutGptCopy(disk, 1, 2, partitions);
}
inline void PutBackup(DiskBytes& disk, const std::vector<Place>& partitions) {
  const uint64_t sectors = disk.size() / kLba;
  PutGptCopy(disk, sectors - 1, sectors - 33, partitions);
}
inline void PutGpt(DiskBytes& disk, const std::vector<Place>& partitions) {
  PutProtectiveMbr(disk);
  PutPrimary(disk, partitions);
  PutBackup(disk, partitions);
}

inline LabelImage ImageOf(const DiskBytes& disk) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(disk.data());
  const size_t head = std::min<size_t>(disk.size(), kLabelHeadBytes);
  const size_t tail = std::min<size_t>(disk.size(), kLabelTailBytes);
  return {disk.size(), {bytes, head}, {bytes + disk.size() - tail, tail}};
}

}  // namespace sluice
