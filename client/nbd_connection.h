// SPDX-License-Identifier: Apache-2.0
// Opens one NBD connection: connect, fixed newstyle handshake, GO. What comes after (requests and
// replies) is the caller's.
#pragma once

#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "client/uri.h"
#include "proto/nbd_handshake.h"

namespace sluice {

// A socket in transmission phase; closed on destruction, without DISC. Movable.
class NbdConnection {
 public:
  NbdConnection() = default;
  NbdConnection(NbdConnection&& other) noexcept { *this = std::move(other); }
  NbdConnection& operator=(NbdConnection&& other) noexcept;
  ~NbdConnection();

  int fd() const { return fd_; }
  uint64_t size_bytes() const { return export_.size; }
  // nbd::kReadOnly, nbd::kSendFlush ...
  bool Has(uint16_t transmission_flag) const { return (export_.flags & transmission_flag) != 0; }
  // What the server told, or the protocol's defaults (1, 4096, 32 MiB).
  const nbd::InfoBlockSize& block_size() const { return block_size_; }
  // READs are answered by chunks.
  bool structured() const { return structured_; }

 private:
  friend class NbdHandshake;
  int fd_ = -1;
  nbd::InfoExport export_;
  nbd::InfoBlockSize block_size_;
  bool structured_ = false;
};

// Blocks for at most `timeout_s` seconds at each step. With `structured` structured replies are
// asked for and demanded. Errors name the URI's server and, where there is one, the cure.
absl::StatusOr<NbdConnection> OpenNbd(const NbdUri& uri, bool structured, int timeout_s);

// Unavailable, for a connection that ended: by end of file (0) or with a system errno.
absl::Status ConnectionLost(int error);

// Says DISC and closes.
void CloseNbd(NbdConnection connection);

}  // namespace sluice
