// SPDX-License-Identifier: Apache-2.0
// Partition tables as far as a server must read them: to know whether a write would move a slice
// that is in use. The bytes come from clients and are hostile; nothing in them is trusted further
// than its checksum. Pure; any thread. Sources: UEFI specification 5.3 (GPT), 5.2.1 (MBR); the
// sector is 512 bytes.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace sluice {

inline constexpr uint64_t kLabelHeadBytes =
    34 * uint64_t{512};  // MBR, GPT header, 32 sectors of entries
inline constexpr uint64_t kLabelTailBytes =
    33 * uint64_t{512};  // 32 sectors of entries, backup header

// Bytes of the disk.
struct Place {
  uint64_t offset;
  uint64_t size;
  bool operator==(const Place&) const = default;
};

// The sectors of a disk that may hold its label. `head` starts at byte 0, `tail` ends at
// `disk_size`; both are whole sectors, and head holds at least the first of them.
struct LabelImage {
  uint64_t disk_size;
  absl::Span<const uint8_t> head;
  absl::Span<const uint8_t> tail;
};

// One table per valid copy: an MBR alone has one, a GPT its primary and its backup as far as their
// checksums hold. No table: there is no label that could be understood. An MBR counts if it is
// signed and its four entries are plausible; with an entry of type 0xEE the partitions are those of
// the GPT. Logical partitions of an MBR lie elsewhere and are not listed.
struct Label {
  std::vector<std::vector<Place>> tables;
};
Label ParseLabel(const LabelImage& image);

// The rule. With slices at `used`, may the label sectors change from `now` to `next`?
//   1. Yes, if `next` has a label and every table of it holds each slice that is a partition in
//   some table of `now`. (A
//      tool that rewrites a GPT copy by copy, backup first, passes: one copy is valid at every
//      moment.)
//   2. Yes, if neither has a label and every changed byte lies inside a used slice: it is that
//   slice's own data.
//   3. Otherwise no.
// REQUIRES: both images are of one disk and equally long.
bool LabelChangeAllowed(const LabelImage& now, const LabelImage& next,
                        absl::Span<const Place> used);

}  // namespace sluice
