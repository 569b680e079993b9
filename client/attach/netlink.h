// SPDX-License-Identifier: Apache-2.0
// The kernel's nbd driver by generic netlink (linux/nbd-netlink.h, family "nbd"), over libnl.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/attach/kernel.h"

namespace sluice::attach {

// The attributes of requests, as they follow the generic netlink header.
namespace netlink {

std::vector<uint8_t> EncodeConnect(std::optional<uint32_t> index, const Device& device,
                                   const Patience& patience, const std::string& identifier,
                                   std::span<const int> sockets);
std::vector<uint8_t> EncodeReconfigure(uint32_t index, const std::string& identifier,
                                       const Change& change);
std::vector<uint8_t> EncodeDisconnect(uint32_t index);

// The index that the answer to CONNECT or a LINK_DEAD message names; none: malformed.
std::optional<uint32_t> DecodeIndex(std::span<const uint8_t> attributes);

}  // namespace netlink

class NetlinkKernel : public Kernel {
 public:
  // NotFound: the driver is not loaded.
  static absl::StatusOr<std::unique_ptr<NetlinkKernel>> Open();
  ~NetlinkKernel() override;

  absl::StatusOr<uint32_t> Connect(std::optional<uint32_t> index, const Device& device,
                                   const Patience& patience, const std::string& identifier,
                                   std::span<const int> sockets) override;
  absl::Status Reconfigure(uint32_t index, const std::string& identifier,
                           const Change& change) override;
  absl::Status Disconnect(uint32_t index) override;
  bool InUse(uint32_t index) override;
  int TakeDeadLinks(uint32_t index) override;

  // Readable when TakeDeadLinks() has something to tell.
  int event_fd() const;

 private:
  struct Sockets;
  explicit NetlinkKernel(std::unique_ptr<Sockets> sockets);
  // Sends one request and awaits its acknowledgement. errno of the kernel's, 0 is success; `answer`
  // gets the attributes of a message that came with it.
  int Ask(uint8_t command, std::span<const uint8_t> attributes, std::vector<uint8_t>* answer);

  std::unique_ptr<Sockets> sockets_;
};

}  // namespace sluice::attach
