// SPDX-License-Identifier: Apache-2.0
#include "client/nbd_connection.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/nbd/handshake.h"
#include "proto/nbd_transmission.h"

namespace sluice {
namespace {

std::string ServerName(const NbdUri& uri) {
  return uri.is_unix() ? uri.socket : absl::StrCat(uri.host, ":", uri.port);
}

absl::Status SystemError(absl::string_view what, int error) {
  return absl::UnavailableError(absl::StrCat(what, ": ", std::strerror(error)));
}

void SetTimeout(int fd, int timeout_s) {
  const timeval patience{.tv_sec = timeout_s, .tv_usec = 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
}

absl::StatusOr<int> ConnectUnix(const NbdUri& uri, int timeout_s) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  uri.socket.copy(address.sun_path, sizeof(address.sun_path) - 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return SystemError("socket", errno);
  SetTimeout(fd, timeout_s);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    const int error = errno;
    close(fd);
    return SystemError(absl::StrCat("cannot connect to ", uri.socket, " (is the server up?)"),
                       error);
  }
  return fd;
}

absl::StatusOr<int> ConnectTcp(const NbdUri& uri, int timeout_s) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const std::string port = absl::StrCat(uri.port);
  if (const int error = getaddrinfo(uri.host.c_str(), port.c_str(), &hints, &found); error != 0) {
    return absl::UnavailableError(absl::StrCat(uri.host, ": ", gai_strerror(error)));
  }
  int fd = -1;
  int error = ECONNREFUSED;
  for (const addrinfo* at = found; at != nullptr && fd < 0; at = at->ai_next) {
    fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
    if (fd < 0) continue;
    SetTimeout(fd, timeout_s);
    if (connect(fd, at->ai_addr, at->ai_addrlen) == 0) break;
    error = errno;
    close(fd);
    fd = -1;
  }
  freeaddrinfo(found);
  if (fd < 0) {
    return SystemError(absl::StrCat("cannot connect to ", ServerName(uri), " (is the server up?)"),
                       error);
  }
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return fd;
}

absl::StatusOr<int> Connect(const NbdUri& uri, int timeout_s) {
  return uri.is_unix() ? ConnectUnix(uri, timeout_s) : ConnectTcp(uri, timeout_s);
}

absl::Status Named(const NbdUri& uri, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(ServerName(uri), ": ", status.message()));
}

}  // namespace

NbdConnection& NbdConnection::operator=(NbdConnection&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(export_, other.export_);
  std::swap(block_size_, other.block_size_);
  std::swap(structured_, other.structured_);
  std::swap(extents_context_, other.extents_context_);
  return *this;
}

NbdConnection::~NbdConnection() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<NbdConnection> OpenNbd(const NbdUri& uri, const NbdWishes& wishes, int timeout_s) {
  const auto fd = Connect(uri, timeout_s);
  if (!fd.ok()) return fd.status();
  NbdHandshake handshake(*fd);
  absl::Status status = handshake.Greet();
  if (status.ok()) status = handshake.Go(uri.export_name, wishes);
  if (!status.ok()) return Named(uri, status);
  return handshake.Take();
}

absl::StatusOr<NbdExport> AskNbd(const NbdUri& uri, int timeout_s) {
  const auto fd = Connect(uri, timeout_s);
  if (!fd.ok()) return fd.status();
  NbdHandshake handshake(*fd);
  if (absl::Status status = handshake.Greet(); !status.ok()) return Named(uri, status);
  auto found = handshake.Info(uri.export_name);
  if (!found.ok()) return Named(uri, found.status());
  return found;
}

absl::StatusOr<std::vector<NbdExport>> ListNbd(const NbdUri& uri, int timeout_s) {
  const auto fd = Connect(uri, timeout_s);
  if (!fd.ok()) return fd.status();
  NbdHandshake handshake(*fd);
  if (absl::Status status = handshake.Greet(); !status.ok()) return Named(uri, status);
  auto exports = handshake.List();
  if (!exports.ok()) return Named(uri, exports.status());
  return exports;
}

absl::Status ConnectionLost(int error) {
  if (error == 0 || error == EPIPE || error == ECONNRESET) {
    return absl::UnavailableError("the server closed the connection; its log says why");
  }
  return SystemError("the connection is lost", error);
}

void CloseNbd(NbdConnection connection) {
  uint8_t request[nbd::kRequestBytes];
  nbd::EncodeRequest({.command = nbd::Command::kDisc}, request);
  // The server may be gone already: then there is nobody to tell.
  static_cast<void>(SendAll(connection.fd(), request));
}

}  // namespace sluice
