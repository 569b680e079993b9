// SPDX-License-Identifier: Apache-2.0
#include "client/control/link.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <random>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/control/explain.h"
#include "client/sdk/grpc_channel.h"
#include "client/uri.h"

namespace sluice::control {
namespace {

constexpr char kForms[] = "write unix:PATH, HOST:PORT or [V6]:PORT";
constexpr char kUnix[] = "unix:";

Status Wrong(const std::string& text) { return Status(StatusCode::kInvalidArgument, text); }

bool IsUnix(const std::string& address) { return absl::StartsWith(address, kUnix); }

Result<SluiceUri> ParseAddress(const std::string& address) {
  const auto refuse = [&address](absl::string_view why) {
    return Wrong(absl::StrCat("the server's address \"", address, "\": ", why));
  };
  SluiceUri uri;
  if (IsUnix(address)) {
    uri.socket = address.substr(sizeof(kUnix) - 1);
    if (uri.socket.empty()) return refuse("the socket's path is missing: write unix:PATH");
    if (uri.socket.size() >= sizeof(sockaddr_un::sun_path)) {
      return refuse("a unix socket's path has at most 107 bytes");
    }
    return uri;
  }
  if (absl::StartsWith(address, "/")) return refuse(absl::StrCat("write unix:", address));
  const bool port = absl::StrContains(address.substr(address.rfind(']') + 1), ":");
  auto parsed = ParseSluiceUri(absl::StrCat("sluice://", address));
  if (!port || !parsed.ok() || !parsed->export_name.empty()) return refuse(kForms);
  return *std::move(parsed);
}

// Why nobody can be reached at a unix socket: a system errno, 0 if somebody listens now.
int TryUnix(const std::string& path) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path.data(), path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  const bool good = connect(fd, reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0;
  const int error = good ? 0 : errno;
  close(fd);
  return error;
}

}  // namespace

Result<Link> Link::Open(const ServerOptions& options) {
  const auto uri = ParseAddress(options.address);
  if (!uri.ok()) return uri.status();
  if (Status status = CheckSecurity(*uri, options); !status.ok()) return status;
  Options how;
  how.tls = {options.tls_ca, options.tls_cert, options.tls_key, ""};
  how.insecure_tcp = options.insecure_tcp;
  auto channel = internal::MakeChannel(*uri, how);
  if (!channel.ok()) return Wrong(channel.status().message());
  return Link(options.address, uri->socket, *std::move(channel));
}

void Link::Prepare(grpc::ClientContext& context, std::chrono::milliseconds patience) {
  context.set_deadline(std::chrono::system_clock::now() + patience);
}

Status Link::Unreachable(const std::string& why) const {
  constexpr char kElsewhere[] = "--server or $SLUICE_SERVER names another one";
  if (socket_.empty()) {
    return Status(StatusCode::kUnavailable,
                  absl::StrCat("no server answers at ", address_, " (", why,
                               "): is sluiced up, with a gRPC door there (grpc { listen }), and do "
                               "both sides speak TLS or neither? ",
                               kElsewhere));
  }
  switch (const int error = TryUnix(socket_)) {
    case ENOENT:
      return Status(StatusCode::kUnavailable,
                    absl::StrCat("no server at ", address_,
                                 ": there is no such socket. Start sluiced with --grpc ", address_,
                                 " (or grpc { listen } in its config); ", kElsewhere));
    case ECONNREFUSED:
      return Status(StatusCode::kUnavailable,
                    absl::StrCat("no server at ", address_,
                                 ": the socket is there, but nobody listens. Start sluiced again; ",
                                 kElsewhere));
    case EACCES:
    case EPERM:
      return Status(
          StatusCode::kUnavailable,
          absl::StrCat("no permission for ", address_,
                       ": run this as the socket's owner or as root, or let more users in by the "
                       "config's grpc { socket_owner, socket_mode }"));
    default:
      return Status(StatusCode::kUnavailable,
                    absl::StrCat("the server at ", address_,
                                 " cannot be reached: ", error == 0 ? why : std::strerror(error)));
  }
}

Status Link::Explain(const grpc::Status& status) const {
  if (IsTransport(status)) return Unreachable(status.error_message());
  return ExplainAnswer(status);
}

std::string NewRequestId() {
  std::random_device device;
  std::uniform_int_distribution<uint64_t> any;
  const uint64_t high = any(device);
  const uint64_t low = any(device);
  return absl::StrFormat("%08x-%04x-4%03x-%04x-%012x", high >> 32, high >> 16 & 0xffff,
                         high & 0xfff, 0x8000 | (low >> 48 & 0x3fff), low & 0xffffffffffff);
}

}  // namespace sluice::control
