// SPDX-License-Identifier: Apache-2.0
// Opens one NBD connection: connect, fixed newstyle handshake, GO. What comes after (requests and
// replies) is the caller's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

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
  // The socket is the caller's from now on.
  int Release() { return std::exchange(fd_, -1); }
  uint64_t size_bytes() const { return export_.size; }
  uint16_t flags() const { return export_.flags; }
  // nbd::kReadOnly, nbd::kSendFlush ...
  bool Has(uint16_t transmission_flag) const { return (export_.flags & transmission_flag) != 0; }
  // What the server told, or the protocol's defaults (1, 4096, 32 MiB).
  const nbd::InfoBlockSize& block_size() const { return block_size_; }
  // READs are answered by chunks.
  bool structured() const { return structured_; }
  // The id of base:allocation: BLOCK_STATUS may be asked.
  std::optional<uint32_t> extents_context() const { return extents_context_; }

 private:
  friend class NbdHandshake;
  int fd_ = -1;
  nbd::InfoExport export_;
  nbd::InfoBlockSize block_size_;
  bool structured_ = false;
  std::optional<uint32_t> extents_context_;
};

// What to ask for beyond the plain protocol.
struct NbdWishes {
  bool structured = false;  // structured replies are demanded
  bool extents = false;  // base:allocation, and structured replies for it, if the server has them
};

// Blocks for at most `timeout_s` seconds at each step. Errors name the URI's server and, where
// there is one, the cure.
absl::StatusOr<NbdConnection> OpenNbd(const NbdUri& uri, const NbdWishes& wishes, int timeout_s);

struct NbdExport {
  std::string name, description;
  std::optional<uint64_t> size_bytes;  // none: the server lists it and refuses it
  uint16_t flags = 0;
  nbd::InfoBlockSize block_size;
};

// What GO would tell of the URI's export, by INFO; the connection is closed again.
absl::StatusOr<NbdExport> AskNbd(const NbdUri& uri, int timeout_s);

// What the URI's server offers; its export's name plays no part.
absl::StatusOr<std::vector<NbdExport>> ListNbd(const NbdUri& uri, int timeout_s);

// Unavailable, for a connection that ended: by end of file (0) or with a system errno.
absl::Status ConnectionLost(int error);

// Says DISC and closes.
void CloseNbd(NbdConnection connection);

}  // namespace sluice
