// SPDX-License-Identifier: Apache-2.0
#include "client/attach/netlink.h"

#include <fcntl.h>
#include <linux/nbd-netlink.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/check.h"

namespace sluice::attach {
namespace {

struct MessageFree {
  void operator()(nl_msg* message) const { nlmsg_free(message); }
};
using Message = std::unique_ptr<nl_msg, MessageFree>;

struct SocketFree {
  void operator()(nl_sock* socket) const { nl_socket_free(socket); }
};
using NetlinkSocket = std::unique_ptr<nl_sock, SocketFree>;

// Room for the longest request: kMaxConnections sockets and an identifier of kMaxIdentifierBytes.
constexpr size_t kMessageBytes = 8192;

// Attributes alone: a message whose header is thrown away.
class Attributes {
 public:
  Attributes() : message_(nlmsg_alloc_size(kMessageBytes)) {
    SLUICE_CHECK(message_ != nullptr);
    SLUICE_CHECK(nlmsg_put(get(), 0, 0, 0, 0, 0) != nullptr);
  }

  void U32(int type, uint32_t value) { SLUICE_CHECK(nla_put_u32(get(), type, value) == 0); }
  void U64(int type, uint64_t value) { SLUICE_CHECK(nla_put_u64(get(), type, value) == 0); }
  void Text(int type, const std::string& text) {
    SLUICE_CHECK(text.size() <= kMaxIdentifierBytes);
    if (!text.empty()) SLUICE_CHECK(nla_put_string(get(), type, text.c_str()) == 0);
  }
  void Sockets(std::span<const int> sockets) {
    nlattr* list = nla_nest_start(get(), NBD_ATTR_SOCKETS);
    for (const int fd : sockets) {
      nlattr* item = nla_nest_start(get(), NBD_SOCK_ITEM);
      U32(NBD_SOCK_FD, static_cast<uint32_t>(fd));
      nla_nest_end(get(), item);
    }
    nla_nest_end(get(), list);
  }
  void Patience(const attach::Patience& patience) {
    U64(NBD_ATTR_TIMEOUT, patience.request_timeout_s);
    U64(NBD_ATTR_DEAD_CONN_TIMEOUT, patience.dead_connection_timeout_s);
  }

  std::vector<uint8_t> Bytes() const {
    const nlmsghdr* header = nlmsg_hdr(message_.get());
    const auto* begin = static_cast<const uint8_t*>(nlmsg_data(header));
    return {begin, begin + nlmsg_datalen(header)};
  }

 private:
  nl_msg* get() { return message_.get(); }

  Message message_;
};

std::string DeviceName(uint32_t index) { return absl::StrCat("/dev/nbd", index); }

// The text of the driver's errno where it means one thing only.
absl::Status DriverError(const std::string& what, int error) {
  switch (error) {
    case EPERM:
    case EACCES:
      return absl::PermissionDeniedError(
          absl::StrCat(what, ": not permitted: run it as root (CAP_SYS_ADMIN)"));
    case EBUSY:
      return absl::AlreadyExistsError(
          absl::StrCat(what,
                       " is taken: `sluice attached` tells by whom; name another device or "
                       "none, or detach that one first"));
    default:
      return absl::InternalError(absl::StrCat(what, ": ", std::strerror(error),
                                              "; the kernel's log (dmesg) may say more"));
  }
}

struct Outcome {
  int error = EIO;  // until it is known
  bool done = false;
  std::vector<uint8_t>* answer = nullptr;
};

int OnAck(nl_msg*, void* context) {
  auto& outcome = *static_cast<Outcome*>(context);
  outcome.error = 0;
  outcome.done = true;
  return NL_STOP;
}

int OnError(sockaddr_nl*, nlmsgerr* failure, void* context) {
  auto& outcome = *static_cast<Outcome*>(context);
  outcome.error = -failure->error;
  outcome.done = true;
  return NL_STOP;
}

std::vector<uint8_t> AttributesOf(nl_msg* message) {
  const auto* header = static_cast<const genlmsghdr*>(nlmsg_data(nlmsg_hdr(message)));
  const auto* begin = reinterpret_cast<const uint8_t*>(genlmsg_attrdata(header, 0));
  return {begin, begin + genlmsg_attrlen(header, 0)};
}

int OnAnswer(nl_msg* message, void* context) {
  auto& outcome = *static_cast<Outcome*>(context);
  if (outcome.answer != nullptr) *outcome.answer = AttributesOf(message);
  return NL_OK;
}

struct DeadLinks {
  uint32_t index = 0;
  int count = 0;
};

int OnEvent(nl_msg* message, void* context) {
  auto& links = *static_cast<DeadLinks*>(context);
  const auto* header = static_cast<const genlmsghdr*>(nlmsg_data(nlmsg_hdr(message)));
  if (header->cmd != NBD_CMD_LINK_DEAD) return NL_OK;
  if (netlink::DecodeIndex(AttributesOf(message)) == links.index) ++links.count;
  return NL_OK;
}

}  // namespace

namespace netlink {

std::vector<uint8_t> EncodeConnect(std::optional<uint32_t> index, const Device& device,
                                   const Patience& patience, const std::string& identifier,
                                   std::span<const int> sockets) {
  Attributes attributes;
  if (index) attributes.U32(NBD_ATTR_INDEX, *index);
  attributes.U64(NBD_ATTR_SIZE_BYTES, device.size_bytes);
  attributes.U64(NBD_ATTR_BLOCK_SIZE_BYTES, device.block_bytes);
  attributes.U64(NBD_ATTR_SERVER_FLAGS, device.flags);
  // None: the device outlives its last user and the keeper, until it is detached.
  attributes.U64(NBD_ATTR_CLIENT_FLAGS, 0);
  attributes.Patience(patience);
  attributes.Text(NBD_ATTR_BACKEND_IDENTIFIER, identifier);
  attributes.Sockets(sockets);
  return attributes.Bytes();
}

std::vector<uint8_t> EncodeReconfigure(uint32_t index, const std::string& identifier,
                                       const Change& change) {
  Attributes attributes;
  attributes.U32(NBD_ATTR_INDEX, index);
  attributes.Text(NBD_ATTR_BACKEND_IDENTIFIER, identifier);
  if (change.size_bytes) attributes.U64(NBD_ATTR_SIZE_BYTES, *change.size_bytes);
  if (change.patience) attributes.Patience(*change.patience);
  if (!change.sockets.empty()) attributes.Sockets(change.sockets);
  return attributes.Bytes();
}

std::vector<uint8_t> EncodeDisconnect(uint32_t index) {
  Attributes attributes;
  attributes.U32(NBD_ATTR_INDEX, index);
  return attributes.Bytes();
}

std::optional<uint32_t> DecodeIndex(std::span<const uint8_t> attributes) {
  // nla_find wants the attributes aligned, as they are in any vector.
  const auto* first = reinterpret_cast<const nlattr*>(attributes.data());
  const nlattr* index = nla_find(first, static_cast<int>(attributes.size()), NBD_ATTR_INDEX);
  if (index == nullptr || nla_len(index) != sizeof(uint32_t)) return std::nullopt;
  return nla_get_u32(index);
}

}  // namespace netlink

struct NetlinkKernel::Sockets {
  NetlinkSocket requests, events;
  int family = 0;
};

NetlinkKernel::NetlinkKernel(std::unique_ptr<Sockets> sockets) : sockets_(std::move(sockets)) {}
NetlinkKernel::~NetlinkKernel() = default;

absl::StatusOr<std::unique_ptr<NetlinkKernel>> NetlinkKernel::Open() {
  auto sockets = std::make_unique<Sockets>();
  sockets->requests.reset(nl_socket_alloc());
  sockets->events.reset(nl_socket_alloc());
  for (nl_sock* socket : {sockets->requests.get(), sockets->events.get()}) {
    SLUICE_CHECK(socket != nullptr);
    if (const int error = genl_connect(socket); error != 0) {
      return absl::InternalError(absl::StrCat("no netlink socket: ", nl_geterror(error)));
    }
  }
  sockets->family = genl_ctrl_resolve(sockets->requests.get(), NBD_GENL_FAMILY_NAME);
  if (sockets->family < 0) {
    return absl::NotFoundError(
        "the kernel's nbd driver is not loaded: run `modprobe nbd` (a kernel whose package has no "
        "such module cannot attach)");
  }
  nl_sock* events = sockets->events.get();
  const int group = genl_ctrl_resolve_grp(events, NBD_GENL_FAMILY_NAME, NBD_GENL_MCAST_GROUP_NAME);
  nl_socket_disable_seq_check(events);
  if (group < 0 || nl_socket_add_membership(events, group) != 0 ||
      nl_socket_set_nonblocking(events) != 0) {
    return absl::InternalError("the kernel's nbd driver has no group nbd_mc_group");
  }
  return std::unique_ptr<NetlinkKernel>(new NetlinkKernel(std::move(sockets)));
}

int NetlinkKernel::Ask(uint8_t command, std::span<const uint8_t> attributes,
                       std::vector<uint8_t>* answer) {
  Message message(nlmsg_alloc_size(2 * kMessageBytes));
  SLUICE_CHECK(message != nullptr);
  SLUICE_CHECK(nlmsg_put(message.get(), NL_AUTO_PORT, NL_AUTO_SEQ, sockets_->family, 0,
                         NLM_F_REQUEST | NLM_F_ACK) != nullptr);
  genlmsghdr header{};
  header.cmd = command;
  header.version = NBD_GENL_VERSION;
  SLUICE_CHECK(nlmsg_append(message.get(), &header, sizeof(header), NLMSG_ALIGNTO) == 0);
  std::vector<uint8_t> bytes(attributes.begin(), attributes.end());
  SLUICE_CHECK(nlmsg_append(message.get(), bytes.data(), bytes.size(), NLMSG_ALIGNTO) == 0);

  Outcome outcome{.answer = answer};
  const std::unique_ptr<nl_cb, decltype(&nl_cb_put)> callbacks(nl_cb_alloc(NL_CB_DEFAULT),
                                                               &nl_cb_put);
  nl_cb_set(callbacks.get(), NL_CB_ACK, NL_CB_CUSTOM, OnAck, &outcome);
  nl_cb_set(callbacks.get(), NL_CB_VALID, NL_CB_CUSTOM, OnAnswer, &outcome);
  nl_cb_err(callbacks.get(), NL_CB_CUSTOM, OnError, &outcome);
  if (nl_send_auto(sockets_->requests.get(), message.get()) < 0) return EIO;
  while (!outcome.done) {
    if (nl_recvmsgs(sockets_->requests.get(), callbacks.get()) < 0 && !outcome.done) return EIO;
  }
  return outcome.error;
}

absl::StatusOr<uint32_t> NetlinkKernel::Connect(std::optional<uint32_t> index, const Device& device,
                                                const Patience& patience,
                                                const std::string& identifier,
                                                std::span<const int> sockets) {
  std::vector<uint8_t> answer;
  const int error =
      Ask(NBD_CMD_CONNECT, netlink::EncodeConnect(index, device, patience, identifier, sockets),
          &answer);
  if (error != 0) return DriverError(index ? DeviceName(*index) : "the nbd driver", error);
  const auto made = netlink::DecodeIndex(answer);
  if (made) return *made;
  if (index) return *index;
  return absl::InternalError("the nbd driver does not say which device it took");
}

absl::Status NetlinkKernel::Reconfigure(uint32_t index, const std::string& identifier,
                                        const Change& change) {
  const int error =
      Ask(NBD_CMD_RECONFIGURE, netlink::EncodeReconfigure(index, identifier, change), nullptr);
  if (error == 0) return absl::OkStatus();
  if (error == EINVAL) {
    return absl::NotFoundError(absl::StrCat(
        DeviceName(index), " is not attached, or not to what it is said to be attached to"));
  }
  return DriverError(DeviceName(index), error);
}

absl::Status NetlinkKernel::Disconnect(uint32_t index) {
  const int error = Ask(NBD_CMD_DISCONNECT, netlink::EncodeDisconnect(index), nullptr);
  if (error == 0) return absl::OkStatus();
  if (error == EINVAL) {
    return absl::NotFoundError(absl::StrCat(DeviceName(index), " is not attached"));
  }
  return DriverError(DeviceName(index), error);
}

bool NetlinkKernel::InUse(uint32_t index) {
  const int fd = open(DeviceName(index).c_str(), O_RDONLY | O_EXCL | O_CLOEXEC);
  if (fd < 0) return errno == EBUSY;
  close(fd);
  return false;
}

int NetlinkKernel::TakeDeadLinks(uint32_t index) {
  DeadLinks links{.index = index};
  nl_sock* events = sockets_->events.get();
  nl_socket_modify_cb(events, NL_CB_VALID, NL_CB_CUSTOM, OnEvent, &links);
  int error = 0;
  do error = nl_recvmsgs_default(events);
  while (error == 0);
  return links.count + (error == -NLE_NOMEM ? 1 : 0);  // some were lost: one at least
}

int NetlinkKernel::event_fd() const { return nl_socket_get_fd(sockets_->events.get()); }

}  // namespace sluice::attach
