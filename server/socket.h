// SPDX-License-Identifier: Apache-2.0
// Sockets as the doors need them. Control path; may block (names are resolved), main thread.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/address.h"

namespace sluice {

// A listening stream socket; the file of a unix socket that we made goes when this goes.
class ListeningSocket {
 public:
  ListeningSocket(int fd, Address address) : fd_(fd), address_(std::move(address)) {}
  ~ListeningSocket();
  ListeningSocket(const ListeningSocket&) = delete;
  ListeningSocket& operator=(const ListeningSocket&) = delete;

  int fd() const { return fd_; }
  void RemoveFile();
  // With the port that it really has.
  const Address& address() const { return address_; }

 private:
  friend absl::StatusOr<std::unique_ptr<ListeningSocket>> ListenUnix(const Address&, mode_t,
                                                                     const std::string&);
  int fd_;
  Address address_;
  // Of the file of the unix socket that we made: another one at that path is not ours to remove.
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

struct ListenOptions {
  bool beyond_loopback = false;  // false: a name that resolves beyond loopback is refused
  mode_t socket_mode = 0600;
  std::string socket_owner;  // "USER:GROUP", "USER", ":GROUP" or empty
};

// Binds and listens; errors name the address and the cure. A host name gives a socket for each
// address it has. The file of a unix socket is replaced only if nobody listens there. An address
// that carries a socket gives that one, as it is.
absl::StatusOr<std::vector<std::unique_ptr<ListeningSocket>>> Listen(const Address& address,
                                                                     const ListenOptions& options);

// Where a socket listens that somebody else made; the address carries it. Errors are a phrase whose
// subject is the socket.
absl::StatusOr<Address> AddressOf(int fd);

// Who is at the other end of a connection.
struct Peer {
  std::string text;    // for the log: "127.0.0.1:4242" or "unix uid 0 pid 17"
  uint16_t hash = 0;   // equal for connections of one client host (TCP) or user (unix)
  bool local = false;  // over a unix socket
};
Peer DescribePeer(int fd);

// TCP: NODELAY, keepalive (dead after about 60 s) and TCP_USER_TIMEOUT (30 s). Others: nothing.
void TuneConnection(int fd);

}  // namespace sluice
