// SPDX-License-Identifier: Apache-2.0
#include "server/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/patience.h"
#include "server/text.h"

namespace sluice {
namespace {

constexpr int kBacklog = 1024;  // the kernel cuts it to net.core.somaxconn

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

absl::Status Failed(const Address& address, absl::string_view what, int error,
                    absl::string_view cure) {
  return absl::FailedPreconditionError(absl::StrCat("cannot listen on ", address.ToString(), ": ",
                                                    what, ": ", std::strerror(error), "; ", cure));
}

// This host lacks the address or its family: another address of the same name may do.
absl::Status NotHere(const Address& address, absl::string_view what) {
  return absl::UnavailableError(
      Failed(address, what, errno, "give an address of this host").message());
}

sockaddr_un UnixName(const std::string& path) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path.data(), std::min(path.size(), sizeof(name.sun_path) - 1));
  return name;
}

template <typename T>
const sockaddr* Generic(const T& name) {
  return reinterpret_cast<const sockaddr*>(&name);
}

bool IsLoopback(const sockaddr& name) {
  if (name.sa_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &name, sizeof(v4));
    return (ntohl(v4.sin_addr.s_addr) >> 24) == 127;
  }
  sockaddr_in6 v6{};
  std::memcpy(&v6, &name, sizeof(v6));
  return name.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
}

// "ADDRESS:PORT" in numbers.
Address Numeric(const sockaddr_storage& name, socklen_t length) {
  char host[NI_MAXHOST] = "?";
  char port[NI_MAXSERV] = "0";
  getnameinfo(reinterpret_cast<const sockaddr*>(&name), length, host, sizeof(host), port,
              sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
  Address address;
  address.host = host;
  uint32_t number = 0;
  if (absl::SimpleAtoi(port, &number)) address.port = static_cast<uint16_t>(number);
  return address;
}

absl::StatusOr<std::unique_ptr<ListeningSocket>> ListenTcp(const Address& address,
                                                           const addrinfo& at) {
  Fd fd(socket(at.ai_family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP));
  if (fd.get() < 0) return NotHere(address, "no socket");
  const int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (at.ai_family == AF_INET6) {
    setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
  }
  int failed = 0;
  WaitForPredecessor([&] {
    failed = bind(fd.get(), at.ai_addr, at.ai_addrlen);
    return failed == 0 || errno != EADDRINUSE;
  });
  if (failed != 0) {
    if (errno == EADDRNOTAVAIL) return NotHere(address, "bind");
    return Failed(address, "bind", errno, "choose an address of this host and a free port");
  }
  if (listen(fd.get(), kBacklog) != 0) {
    return Failed(address, "listen", errno, "choose a free port");
  }
  sockaddr_storage bound{};
  socklen_t length = sizeof(bound);
  getsockname(fd.get(), reinterpret_cast<sockaddr*>(&bound), &length);
  return std::make_unique<ListeningSocket>(fd.Release(), Numeric(bound, length));
}

absl::StatusOr<std::vector<std::unique_ptr<ListeningSocket>>> ListenHost(
    const Address& address, const ListenOptions& options) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | AI_PASSIVE;
  addrinfo* found = nullptr;
  const int error =
      getaddrinfo(address.host.c_str(), absl::StrCat(address.port).c_str(), &hints, &found);
  if (error != 0) {
    return absl::FailedPreconditionError(absl::StrCat("cannot listen on ", address.ToString(), ": ",
                                                      gai_strerror(error),
                                                      "; give an address of this host"));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owned(found, &freeaddrinfo);
  std::vector<std::unique_ptr<ListeningSocket>> sockets;
  absl::Status missing;
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    if (!options.beyond_loopback && !IsLoopback(*at->ai_addr)) {
      return absl::FailedPreconditionError(
          absl::StrCat("cannot listen on ", address.ToString(),
                       ": the name means an address beyond loopback; give 127.0.0.1 or [::1], or "
                       "allow it with insecure_tcp: true (--insecure-tcp)"));
    }
    auto socket = ListenTcp(address, *at);
    if (socket.ok()) {
      sockets.push_back(*std::move(socket));
    } else if (!absl::IsUnavailable(socket.status())) {
      return socket.status();
    } else {
      missing = socket.status();
    }
  }
  // A host without IPv6 still listens on the IPv4 address of "localhost".
  if (sockets.empty()) return missing;
  return sockets;
}

// 0 if the path is free now: there was nothing, or a socket that nobody listens on.
int FreePath(const std::string& path) {
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) return errno == ENOENT ? 0 : errno;
  if (!S_ISSOCK(info.st_mode)) return EEXIST;
  Fd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (probe.get() < 0) return errno;
  const sockaddr_un name = UnixName(path);
  if (connect(probe.get(), Generic(name), sizeof(name)) == 0) return EADDRINUSE;
  if (errno == ENOENT) return 0;  // its owner has just removed it
  if (errno != ECONNREFUSED) return errno == EAGAIN ? EADDRINUSE : errno;
  return unlink(path.c_str()) == 0 || errno == ENOENT ? 0 : errno;
}

// A number, or a name that `look_up` knows; -1 for an empty text, an error for an unknown one.
template <typename LookUp>
absl::StatusOr<int64_t> IdOf(absl::string_view text, LookUp look_up) {
  uint32_t number = 0;
  if (text.empty()) return -1;
  if (absl::SimpleAtoi(text, &number)) return number;
  const int64_t id = look_up(std::string(text));
  if (id >= 0) return id;
  return absl::FailedPreconditionError(absl::StrCat(
      Quote(text), " is no user or group here; correct socket_owner (--socket-owner)"));
}

absl::Status SetOwner(const Address& address, const std::string& owner) {
  if (owner.empty()) return absl::OkStatus();
  const std::pair<std::string, std::string> names = absl::StrSplit(owner, absl::MaxSplits(':', 1));
  const auto user = IdOf(names.first, [](const std::string& name) -> int64_t {
    const passwd* entry = getpwnam(name.c_str());
    return entry == nullptr ? -1 : int64_t{entry->pw_uid};
  });
  if (!user.ok()) return user.status();
  const auto group = IdOf(names.second, [](const std::string& name) -> int64_t {
    const struct group* entry = getgrnam(name.c_str());
    return entry == nullptr ? -1 : int64_t{entry->gr_gid};
  });
  if (!group.ok()) return group.status();
  if (chown(address.path.c_str(), static_cast<uid_t>(*user), static_cast<gid_t>(*group)) != 0) {
    return Failed(address, "chown", errno, "only root gives a socket to others");
  }
  return absl::OkStatus();
}

// io_uring waits for a connection only on a socket that blocks (on another it fails with EAGAIN).
std::unique_ptr<ListeningSocket> Adopt(const Address& address) {
  fcntl(address.fd, F_SETFL, fcntl(address.fd, F_GETFL) & ~O_NONBLOCK);
  return std::make_unique<ListeningSocket>(address.fd, address);
}

}  // namespace

ListeningSocket::~ListeningSocket() {
  close(fd_);
  RemoveFile();
}

void ListeningSocket::RemoveFile() {
  struct stat info {};
  if (inode_ != 0 && lstat(address_.path.c_str(), &info) == 0 && info.st_dev == device_ &&
      info.st_ino == inode_) {
    unlink(address_.path.c_str());
  }
}

// Nobody can connect before listen(), and by then mode and owner are set.
absl::StatusOr<std::unique_ptr<ListeningSocket>> ListenUnix(const Address& address, mode_t mode,
                                                            const std::string& owner) {
  Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return Failed(address, "no socket", errno, "raise the limit of open files");
  int error = 0;
  WaitForPredecessor([&] {
    error = FreePath(address.path);
    return error != EADDRINUSE;
  });
  if (error != 0) {
    return Failed(address, "the path is taken", error,
                  "stop who listens there, remove the file, or choose another path");
  }
  const sockaddr_un name = UnixName(address.path);
  if (bind(fd.get(), Generic(name), sizeof(name)) != 0) {
    return Failed(address, "bind", errno, "the folder must exist and be writable");
  }
  auto socket = std::make_unique<ListeningSocket>(fd.Release(), address);
  struct stat info {};
  if (lstat(address.path.c_str(), &info) != 0) return Failed(address, "stat", errno, "try again");
  socket->device_ = info.st_dev;
  socket->inode_ = info.st_ino;
  if (chmod(address.path.c_str(), mode) != 0) {
    return Failed(address, "chmod", errno, "choose another folder");
  }
  if (auto status = SetOwner(address, owner); !status.ok()) return status;
  if (listen(socket->fd(), kBacklog) != 0) {
    return Failed(address, "listen", errno, "choose another path");
  }
  return socket;
}

absl::StatusOr<std::vector<std::unique_ptr<ListeningSocket>>> Listen(const Address& address,
                                                                     const ListenOptions& options) {
  if (address.fd >= 0) {
    std::vector<std::unique_ptr<ListeningSocket>> sockets;
    sockets.push_back(Adopt(address));
    return sockets;
  }
  if (address.kind == Address::Kind::kTcp) return ListenHost(address, options);
  auto socket = ListenUnix(address, options.socket_mode, options.socket_owner);
  if (!socket.ok()) return socket.status();
  std::vector<std::unique_ptr<ListeningSocket>> sockets;
  sockets.push_back(*std::move(socket));
  return sockets;
}

absl::StatusOr<Address> AddressOf(int fd) {
  sockaddr_storage name{};
  socklen_t length = sizeof(name);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("has no name: ", std::strerror(errno)));
  }
  Address address;
  if (name.ss_family == AF_INET || name.ss_family == AF_INET6) {
    address = Numeric(name, length);
  } else if (name.ss_family == AF_UNIX) {
    sockaddr_un path{};
    std::memcpy(&path, &name, std::min<size_t>(length, sizeof(path)));
    if (path.sun_path[0] == '\0') {
      return absl::InvalidArgumentError(
          "is abstract, so that any user may connect: give it a path");
    }
    address.kind = Address::Kind::kUnix;
    address.path.assign(path.sun_path, strnlen(path.sun_path, sizeof(path.sun_path)));
  } else {
    return absl::InvalidArgumentError("is neither TCP nor a unix socket");
  }
  address.fd = fd;
  return address;
}

Peer DescribePeer(int fd) {
  sockaddr_storage name{};
  socklen_t length = sizeof(name);
  Peer peer;
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&name), &length) != 0) {
    peer.text = "a peer that is gone";
    return peer;
  }
  if (name.ss_family == AF_UNIX) {
    ucred credentials{};
    socklen_t size = sizeof(credentials);
    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size);
    peer.text = absl::StrCat("unix uid ", credentials.uid, " pid ", credentials.pid);
    peer.hash = static_cast<uint16_t>(absl::HashOf(credentials.uid));
    peer.local = true;
    return peer;
  }
  const Address address = Numeric(name, length);
  peer.text = address.ToString();
  peer.hash = static_cast<uint16_t>(absl::HashOf(address.host));
  return peer;
}

void TuneConnection(int fd) {
  int domain = 0;
  socklen_t size = sizeof(domain);
  getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size);
  if (domain == AF_UNIX) return;
  const struct {
    int level, option, value;
  } options[] = {
      {IPPROTO_TCP, TCP_NODELAY, 1},   {SOL_SOCKET, SO_KEEPALIVE, 1},
      {IPPROTO_TCP, TCP_KEEPIDLE, 30}, {IPPROTO_TCP, TCP_KEEPINTVL, 10},
      {IPPROTO_TCP, TCP_KEEPCNT, 3},   {IPPROTO_TCP, TCP_USER_TIMEOUT, 30'000},
  };
  for (const auto& o : options) setsockopt(fd, o.level, o.option, &o.value, sizeof(o.value));
}

}  // namespace sluice
