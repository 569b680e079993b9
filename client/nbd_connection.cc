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

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/units.h"
#include "proto/nbd_transmission.h"

namespace sluice {
namespace {

// Infos, texts and replies to options we know are far smaller; more is no NBD server.
constexpr uint32_t kMaxOptionReplyBytes = 64 << 10;
constexpr int kMaxOptionReplies = 64;

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

absl::Status SendAll(int fd, ConstByteSpan bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return ConnectionLost(errno == EAGAIN ? ETIMEDOUT : errno);
    bytes = bytes.subspan(static_cast<size_t>(sent));
  }
  return absl::OkStatus();
}

absl::Status ReceiveAll(int fd, ByteSpan room) {
  while (!room.empty()) {
    const ssize_t got = recv(fd, room.data(), room.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return ConnectionLost(got == 0 ? 0 : errno == EAGAIN ? ETIMEDOUT : errno);
    room = room.subspan(static_cast<size_t>(got));
  }
  return absl::OkStatus();
}

absl::Status NotNbd(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("the server does not speak NBD as agreed: ", what));
}

std::string PrintableText(ConstByteSpan bytes) {
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  return absl::CHexEscape(absl::string_view(text, bytes.size()).substr(0, 300));
}

}  // namespace

// The client's side of the fixed newstyle handshake, over a blocking socket.
class NbdHandshake {
 public:
  explicit NbdHandshake(int fd) { connection_.fd_ = fd; }

  absl::Status Run(const NbdUri& uri, bool structured) {
    if (absl::Status status = Greet(); !status.ok()) return status;
    if (structured) {
      if (absl::Status status = AskForStructured(); !status.ok()) return status;
    }
    return Go(uri.export_name);
  }

  NbdConnection Take() { return std::move(connection_); }

 private:
  struct OptionAnswer {
    nbd::OptionReply type = {};
    std::vector<uint8_t> data;
  };

  absl::Status Greet() {
    uint8_t bytes[nbd::kGreetingBytes];
    if (absl::Status status = ReceiveAll(connection_.fd_, bytes); !status.ok()) return status;
    const auto flags = nbd::DecodeGreeting(bytes);
    if (!flags) return NotNbd("no newstyle greeting");
    if ((*flags & nbd::kFixedNewstyle) == 0) return NotNbd("no fixed newstyle, it is too old");
    return SendAll(connection_.fd_,
                   nbd::EncodeClientFlags(*flags & (nbd::kFixedNewstyle | nbd::kNoZeroes)));
  }

  absl::Status SendOption(nbd::Option option, ConstByteSpan data) {
    option_ = option;
    const auto header =
        nbd::EncodeOptionHeader({.option = option, .length = static_cast<uint32_t>(data.size())});
    if (absl::Status status = SendAll(connection_.fd_, header); !status.ok()) return status;
    return SendAll(connection_.fd_, data);
  }

  absl::StatusOr<OptionAnswer> NextAnswer() {
    uint8_t bytes[nbd::kOptionReplyHeaderBytes];
    if (absl::Status status = ReceiveAll(connection_.fd_, bytes); !status.ok()) return status;
    const auto header = nbd::DecodeOptionReplyHeader(bytes);
    if (!header || header->option != option_) return NotNbd("no reply to the option that was sent");
    if (header->length > kMaxOptionReplyBytes) return NotNbd("an option's reply is too long");
    OptionAnswer answer{header->type, std::vector<uint8_t>(header->length)};
    if (absl::Status status = ReceiveAll(connection_.fd_, answer.data); !status.ok()) return status;
    return answer;
  }

  absl::Status AskForStructured() {
    if (absl::Status s = SendOption(nbd::Option::kStructuredReply, {}); !s.ok()) return s;
    const auto answer = NextAnswer();
    if (!answer.ok()) return answer.status();
    if (answer->type != nbd::OptionReply::kAck) {
      return absl::FailedPreconditionError(
          "the server has no structured replies: leave --structured away");
    }
    connection_.structured_ = true;
    return absl::OkStatus();
  }

  absl::Status Go(const std::string& name) {
    std::vector<uint8_t> query(name.size() + 16);
    constexpr nbd::Info kInfos[] = {nbd::Info::kBlockSize};
    query.resize(nbd::EncodeExportQuery(name, kInfos, query));
    if (absl::Status s = SendOption(nbd::Option::kGo, query); !s.ok()) return s;
    bool told = false;
    for (int replies = 0; replies < kMaxOptionReplies; ++replies) {
      const auto answer = NextAnswer();
      if (!answer.ok()) return answer.status();
      if (IsError(answer->type)) return GoRefused(name, *answer);
      if (answer->type == nbd::OptionReply::kAck) {
        return told ? absl::OkStatus() : NotNbd("GO without the export's size");
      }
      if (answer->type != nbd::OptionReply::kInfo) return NotNbd("a strange reply to GO");
      const auto kind = nbd::DecodeInfoKind(answer->data);
      if (kind == nbd::Info::kExport) {
        const auto info = nbd::DecodeInfoExport(answer->data);
        if (!info) return NotNbd("malformed export info");
        connection_.export_ = *info;
        told = true;
      } else if (kind == nbd::Info::kBlockSize) {
        const auto info = nbd::DecodeInfoBlockSize(answer->data);
        if (!info || !IsPowerOfTwo(info->min)) return NotNbd("malformed block sizes");
        connection_.block_size_ = *info;
      }
    }
    return NotNbd("GO is answered without end");
  }

  absl::Status GoRefused(const std::string& name, const OptionAnswer& answer) {
    const std::string export_name = absl::StrCat("the export \"", absl::CHexEscape(name), "\"");
    std::string why;
    if (!answer.data.empty()) why = absl::StrCat("; it says: ", PrintableText(answer.data));
    switch (answer.type) {
      case nbd::OptionReply::kErrUnknown:
        return absl::NotFoundError(absl::StrCat("the server has no ", export_name.substr(4), why));
      case nbd::OptionReply::kErrTlsReqd:
        return absl::FailedPreconditionError(
            absl::StrCat(export_name, " wants TLS, which is not supported yet", why));
      case nbd::OptionReply::kErrUnsup:
        return absl::FailedPreconditionError("the server is too old: it does not know GO");
      case nbd::OptionReply::kErrShutdown:
        return absl::UnavailableError(absl::StrCat("the server is shutting down", why));
      default:
        return absl::FailedPreconditionError(absl::StrCat("the server refuses ", export_name, why));
    }
  }

  NbdConnection connection_;
  nbd::Option option_ = {};
};

NbdConnection& NbdConnection::operator=(NbdConnection&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(export_, other.export_);
  std::swap(block_size_, other.block_size_);
  std::swap(structured_, other.structured_);
  return *this;
}

NbdConnection::~NbdConnection() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<NbdConnection> OpenNbd(const NbdUri& uri, bool structured, int timeout_s) {
  const auto fd = uri.is_unix() ? ConnectUnix(uri, timeout_s) : ConnectTcp(uri, timeout_s);
  if (!fd.ok()) return fd.status();
  NbdHandshake handshake(*fd);
  if (absl::Status status = handshake.Run(uri, structured); !status.ok()) {
    return absl::Status(status.code(), absl::StrCat(ServerName(uri), ": ", status.message()));
  }
  return handshake.Take();
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
