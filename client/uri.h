// SPDX-License-Identifier: Apache-2.0
// NBD URIs (doc/uri.md of the NBD project): where a server listens and which export is meant.
//
//   nbd://HOST[:PORT][/EXPORT]            TCP; PORT is 10809 when left away, [V6] in brackets
//   nbd+unix://[/EXPORT]?socket=PATH      unix socket
//
// EXPORT and PATH may hold %XX. The empty export is the server's default one.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace sluice {

struct NbdUri {
  std::string host;  // empty for a unix socket
  uint16_t port = 0;
  std::string socket;  // empty for TCP
  std::string export_name;

  bool is_unix() const { return !socket.empty(); }
  bool operator==(const NbdUri&) const = default;
};

// InvalidArgument: one line that says what is wrong and how to write it.
absl::StatusOr<NbdUri> ParseNbdUri(absl::string_view text);

}  // namespace sluice
