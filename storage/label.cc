// SPDX-License-Identifier: Apache-2.0
#include "storage/label.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

namespace sluice {
namespace {

using Bytes = absl::Span<const uint8_t>;
using Table = std::vector<Place>;

constexpr uint64_t kSectorBytes = 512;
constexpr uint32_t kHeaderBytesMin = 92;
constexpr uint32_t kEntryBytesMin = 128;

uint64_t Little(const uint8_t* at, int bytes) {
  uint64_t value = 0;
  for (int i = bytes; i-- > 0;) value = value << 8 | at[i];
  return value;
}
uint32_t Little32(const uint8_t* at) { return static_cast<uint32_t>(Little(at, 4)); }
uint64_t Little64(const uint8_t* at) { return Little(at, 8); }

// CRC-32 of IEEE 802.3, as GPT uses it.
constexpr std::array<uint32_t, 256> kCrcTable = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = value >> 1 ^ ((value & 1) != 0 ? 0xEDB88320u : 0u);
    table[i] = value;
  }
  return table;
}();

uint32_t Crc32(Bytes bytes) {
  uint32_t crc = ~0u;
  for (const uint8_t byte : bytes) crc = crc >> 8 ^ kCrcTable[(crc ^ byte) & 0xff];
  return ~crc;
}

// The image's bytes of `sectors` sectors from `lba` on; empty unless all of them lie in its head or
// all in its tail.
Bytes SectorsOf(const LabelImage& image, uint64_t lba, uint64_t sectors) {
  const uint64_t disk_sectors = image.disk_size / kSectorBytes;
  const uint64_t tail_sectors = image.tail.size() / kSectorBytes;
  const uint64_t tail_lba = disk_sectors - tail_sectors;
  if (lba >= disk_sectors || sectors > disk_sectors - lba) return {};
  if (lba + sectors <= image.head.size() / kSectorBytes) {
    return image.head.subspan(lba * kSectorBytes, sectors * kSectorBytes);
  }
  if (lba >= tail_lba) {
    return image.tail.subspan((lba - tail_lba) * kSectorBytes, sectors * kSectorBytes);
  }
  return {};
}

// Adds what lies on the disk; an entry that does not is no partition.
void AddPartition(const LabelImage& image, uint64_t first, uint64_t count, Table& table) {
  const uint64_t disk_sectors = image.disk_size / kSectorBytes;
  if (count == 0 || first >= disk_sectors || count > disk_sectors - first) return;
  table.push_back({first * kSectorBytes, count * kSectorBytes});
}

// The GPT whose header is at `lba`; nothing unless both checksums hold.
std::optional<Table> ParseGpt(const LabelImage& image, uint64_t lba) {
  const Bytes header = SectorsOf(image, lba, 1);
  if (header.empty() || std::memcmp(header.data(), "EFI PART", 8) != 0) return std::nullopt;
  const uint32_t header_bytes = Little32(&header[12]);
  if (header_bytes < kHeaderBytesMin || header_bytes > kSectorBytes) return std::nullopt;
  std::array<uint8_t, kSectorBytes> blanked;
  std::copy(header.begin(), header.end(), blanked.begin());
  std::fill_n(blanked.begin() + 16, 4, uint8_t{0});
  if (Crc32(Bytes(blanked).first(header_bytes)) != Little32(&header[16])) return std::nullopt;
  if (Little64(&header[24]) != lba) return std::nullopt;

  const uint64_t count = Little32(&header[80]);
  const uint64_t entry_bytes = Little32(&header[84]);
  if (entry_bytes < kEntryBytesMin || entry_bytes % kEntryBytesMin != 0) return std::nullopt;
  const uint64_t bytes = count * entry_bytes;  // 32 bits each: the product fits in 64
  if (bytes == 0 || bytes > kLabelHeadBytes) return std::nullopt;
  const Bytes entries =
      SectorsOf(image, Little64(&header[72]), (bytes + kSectorBytes - 1) / kSectorBytes);
  if (entries.empty() || Crc32(entries.first(bytes)) != Little32(&header[88])) return std::nullopt;

  Table table;
  for (uint64_t at = 0; at < bytes; at += entry_bytes) {
    const uint8_t* entry = &entries[at];
    const bool unused = std::all_of(entry, entry + 16, [](uint8_t byte) { return byte == 0; });
    const uint64_t first = Little64(entry + 32);
    const uint64_t last = Little64(entry + 40);
    if (!unused && last >= first && last - first < ~uint64_t{0}) {
      AddPartition(image, first, last - first + 1, table);
    }
  }
  return table;
}

struct Mbr {
  Table table;
  bool protective = false;
};

std::optional<Mbr> ParseMbr(const LabelImage& image) {
  const Bytes sector = SectorsOf(image, 0, 1);
  if (sector.empty() || sector[510] != 0x55 || sector[511] != 0xAA) return std::nullopt;
  Mbr mbr;
  bool any = false;
  for (size_t i = 0; i < 4; ++i) {
    const uint8_t* entry = &sector[446 + 16 * i];
    if (entry[0] != 0x00 && entry[0] != 0x80) return std::nullopt;
    const uint8_t type = entry[4];
    if (type == 0) continue;
    any = true;
    mbr.protective |= type == 0xEE;
    AddPartition(image, Little32(entry + 8), Little32(entry + 12), mbr.table);
  }
  return any ? std::optional<Mbr>(std::move(mbr)) : std::nullopt;
}

bool Holds(const Table& table, const Place& place) {
  return std::find(table.begin(), table.end(), place) != table.end();
}

bool IsPartition(const Label& label, const Place& place) {
  return std::any_of(label.tables.begin(), label.tables.end(),
                     [&](const Table& table) { return Holds(table, place); });
}

// Whether each byte of `now` that differs in `next` lies in a used slice; `at` is the disk offset
// of the first.
bool ChangesLieInside(Bytes now, Bytes next, uint64_t at, absl::Span<const Place> used) {
  for (size_t i = 0; i < now.size(); ++i) {
    if (now[i] == next[i]) continue;
    const uint64_t byte = at + i;
    const bool inside = std::any_of(used.begin(), used.end(), [&](const Place& slice) {
      return byte >= slice.offset && byte - slice.offset < slice.size;
    });
    if (!inside) return false;
  }
  return true;
}

}  // namespace

Label ParseLabel(const LabelImage& image) {
  Label label;
  std::optional<Mbr> mbr = ParseMbr(image);
  if (!mbr) return label;
  if (!mbr->protective) {
    label.tables.push_back(std::move(mbr->table));
    return label;
  }
  for (const uint64_t lba : {uint64_t{1}, image.disk_size / kSectorBytes - 1}) {
    if (std::optional<Table> table = ParseGpt(image, lba))
      label.tables.push_back(*std::move(table));
  }
  return label;
}

bool LabelChangeAllowed(const LabelImage& now, const LabelImage& next,
                        absl::Span<const Place> used) {
  const Label old_label = ParseLabel(now);
  const Label new_label = ParseLabel(next);
  if (new_label.tables.empty()) {
    return old_label.tables.empty() && ChangesLieInside(now.head, next.head, 0, used) &&
           ChangesLieInside(now.tail, next.tail, now.disk_size - now.tail.size(), used);
  }
  for (const Place& slice : used) {
    if (!IsPartition(old_label, slice)) continue;
    for (const Table& table : new_label.tables) {
      if (!Holds(table, slice)) return false;
    }
  }
  return true;
}

}  // namespace sluice
