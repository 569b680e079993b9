// SPDX-License-Identifier: Apache-2.0
// The least an NBD server can do for a connection in transmission phase: take every request that
// one receive brings, answer all of them in one send. Nothing is stored; a READ brings the same
// bytes each time. One thread, non-blocking.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "proto/bytes.h"
#include "proto/nbd_transmission.h"

namespace sluice::bench {

class NullResponder {
 public:
  explicit NullResponder(int fd);
  ~NullResponder();
  NullResponder(const NullResponder&) = delete;
  NullResponder& operator=(const NullResponder&) = delete;

  enum class Turn : uint8_t { kNothing, kServed, kClosed };
  // Receives and answers once. While answers wait for room in the socket nothing is received.
  Turn Serve();

  int fd() const { return fd_; }
  bool unsent() const { return first_ < parts_.size(); }

 private:
  bool Parse(size_t count);
  void Answer(const nbd::Request& request);
  bool Send();

  const int fd_;
  std::vector<uint8_t> in_;
  size_t kept_ = 0;            // bytes of an incomplete header, at the front
  nbd::Request write_;         // the one whose payload is coming
  uint64_t payload_left_ = 0;  // of it, bytes
  std::vector<uint8_t> headers_;
  size_t header_bytes_ = 0;
  std::vector<iovec> parts_;
  size_t first_ = 0;  // of parts_, what is not sent
};

}  // namespace sluice::bench
