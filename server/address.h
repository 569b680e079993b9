// SPDX-License-Identifier: Apache-2.0
// Where a door listens, as it is written in flags, in the config and in the ready line.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace sluice {

struct Address {
  enum class Kind : uint8_t { kTcp, kUnix };

  Kind kind = Kind::kTcp;
  std::string host;   // kTcp: a name or a number, no brackets
  uint16_t port = 0;  // kTcp: 0 stands for any free one
  std::string path;   // kUnix: at most 107 bytes, no NUL
  int fd = -1;        // a socket that listens there already, ours to use; -1: none

  bool operator==(const Address&) const = default;

  // In the form ParseAddress reads.
  std::string ToString() const;

  // True for unix sockets, 127.0.0.0/8, ::1 and the name "localhost". Resolves nothing: a name may
  // turn out to lie elsewhere, so the listener looks again at what it resolved.
  bool IsLocal() const;
};

// HOST:PORT, [V6]:PORT or unix:PATH.
absl::StatusOr<Address> ParseAddress(absl::string_view text);

}  // namespace sluice
