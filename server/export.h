// SPDX-License-Identifier: Apache-2.0
// What a door sees of the exports: facts for the handshake, and a way to look them up.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

// A number that only rises while others look at it.
class RisingBytes {
 public:
  RisingBytes(uint64_t value = 0) : value_(value) {}
  RisingBytes(const RisingBytes& other) : value_(other) {}
  RisingBytes& operator=(const RisingBytes& other) {
    value_.store(other);
    return *this;
  }
  operator uint64_t() const { return value_.load(); }
  void RiseTo(uint64_t value) const { value_.store(value); }

 private:
  mutable std::atomic<uint64_t> value_;
};

// Facts a client is told about one export. Immutable once it is in a directory, but that it may
// grow: a change makes a new one, and whoever holds the old one keeps it. The table's own type
// derives from it.
struct ExportInfo {
  std::string name;         // UTF-8 without NUL, at most 4096 bytes
  std::string description;  // as name; may be empty
  RisingBytes size_bytes;
  bool read_only = false;
  bool rotational = false;  // the client should sort its requests
  bool can_trim = false;
  bool can_zero = false;
  bool fast_zero = false;  // WRITE_ZEROES can tell at once that it would be slow; needs can_zero
  bool multi_conn = true;  // flush and FUA on one connection cover all of them
  uint32_t min_block_bytes = 512;         // power of two, 1..65536
  uint32_t preferred_block_bytes = 4096;  // power of two, at least max(min, 512)
};

// Called by handshakes, on any reactor's thread; implementations answer from an immutable table
// and do not block. One directory may be made per connection, so that rights follow the peer.
class ExportDirectory {
 public:
  virtual ~ExportDirectory() = default;

  // The export with exactly these bytes as its name; for the empty name the default export.
  // Null if there is none, or none for this peer.
  virtual std::shared_ptr<const ExportInfo> Find(std::string_view name) const = 0;

  // All that this peer may know of, in a stable order.
  virtual std::vector<std::shared_ptr<const ExportInfo>> List() const = 0;
};

}  // namespace sluice
