// SPDX-License-Identifier: Apache-2.0
// URIs of exports: NBD's (doc/uri.md of the NBD project), and the same shape for the gRPC door.
//
//   nbd://HOST[:PORT][/EXPORT]            TCP; PORT is 10809 when left away, [V6] in brackets
//   nbd+unix://[/EXPORT]?socket=PATH      unix socket
//   sluice://HOST[:PORT][/EXPORT]         gRPC; PORT is 10810 when left away
//   sluice+unix://[/EXPORT]?socket=PATH
//
// EXPORT and PATH may hold %XX. The empty export is the server's default one.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace sluice {

// Where a server listens, and an export there.
struct ServerUri {
  std::string host;  // empty for a unix socket
  uint16_t port = 0;
  std::string socket;  // empty for TCP
  std::string export_name;

  bool is_unix() const { return !socket.empty(); }
  bool operator==(const ServerUri&) const = default;
};
struct NbdUri : ServerUri {};
struct SluiceUri : ServerUri {};

// Whether the scheme is that of the gRPC door; nothing else is looked at.
bool IsSluiceUri(absl::string_view text);

// InvalidArgument: one line that says what is wrong and how to write it.
absl::StatusOr<NbdUri> ParseNbdUri(absl::string_view text);
absl::StatusOr<SluiceUri> ParseSluiceUri(absl::string_view text);

}  // namespace sluice
