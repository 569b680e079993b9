// SPDX-License-Identifier: Apache-2.0
// Who stands at the other end of a connection, as far as the kernel or a certificate vouches for
// it, and what it may have. The same rule for every door.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "server/config.h"

namespace sluice {

struct Identity {
  enum class Kind : uint8_t {
    kNobody,       // not known (any more): may have nothing
    kAddress,      // plain TCP: nobody vouches for it
    kUnixSocket,   // whom the socket's permissions let in
    kCertificate,  // `name` is its certificate's
  };
  Kind kind = Kind::kNobody;
  std::string name;
  bool admin = false;  // may use the control services

  bool operator==(const Identity&) const = default;
};

// True if Export.allow lets it open the export. Who may not is told that there is no such export.
inline bool MayOpen(const ExportConfig& exported, const Identity& who) {
  if (who.kind == Identity::Kind::kNobody) return false;
  if (exported.allow.empty()) return true;
  return std::any_of(exported.allow.begin(), exported.allow.end(), [&](const std::string& entry) {
    if (entry == kAllowUnix) return who.kind == Identity::Kind::kUnixSocket;
    return who.kind == Identity::Kind::kCertificate && entry == who.name;
  });
}

}  // namespace sluice
