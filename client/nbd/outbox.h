// SPDX-License-Identifier: Apache-2.0
// Requests on their way into a socket: pushed one by one, sent together. One thread; allocates at
// construction only.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "proto/bytes.h"
#include "proto/nbd_transmission.h"

namespace sluice {

class Outbox {
 public:
  // Room for `depth` requests.
  explicit Outbox(uint32_t depth)
      : headers_(depth * nbd::kRequestBytes), parts_(size_t{2} * depth) {}

  bool empty() const { return first_ == last_; }
  bool full() const { return header_bytes_ == headers_.size(); }
  // Bytes since construction: all that were pushed, and those the socket took.
  uint64_t pushed_bytes() const { return pushed_bytes_; }
  uint64_t sent_bytes() const { return sent_bytes_; }

  // Not when full. The payload stays where it is until it is sent.
  void Push(const nbd::Request& request, ConstByteSpan payload);

  // Sends what the socket takes without waiting; the rest stays. Unavailable: the connection is
  // lost.
  absl::Status Send(int fd);

 private:
  void Drop(size_t bytes);

  std::vector<uint8_t> headers_;
  std::vector<iovec> parts_;
  size_t header_bytes_ = 0;
  uint64_t pushed_bytes_ = 0, sent_bytes_ = 0;
  size_t first_ = 0, last_ = 0;  // of parts_, what is not sent
};

}  // namespace sluice
