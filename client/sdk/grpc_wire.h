// SPDX-License-Identifier: Apache-2.0
// The messages of an Io stream as bytes: plain protobuf of proto/sluice/v1/block.proto, but made
// and taken apart by hand where the data are, so that these are copied once, and summed by the way.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <span>
#include <vector>

#include "client/sdk/transport.h"
#include "sluice/v1/block.pb.h"

SLUICE_SDK_BEGIN
namespace internal {

struct NumberedOp {
  uint64_t id = 0;
  const Op* op = nullptr;
};

// An IoRequest of ops with their data. `ack_through`: 0: no news.
::grpc::ByteBuffer EncodeOps(std::span<const NumberedOp> ops, uint64_t ack_through);

// An IoResponse, over the buffer it came in.
class IoReply {
 public:
  explicit IoReply(::grpc::ByteBuffer& bytes) : bytes_(bytes) {}
  IoReply(const IoReply&) = delete;
  IoReply& operator=(const IoReply&) = delete;

  // False: it is none. What was parsed is then unspecified.
  bool Parse();

  bool has_attached() const { return has_attached_; }
  v1::IoAttached& attached() { return attached_; }
  bool has_notice() const { return has_notice_; }
  const v1::IoNotice& notice() const { return notice_; }
  const std::vector<v1::OpResult>& results() const { return results_; }

  // Copies a READ's data out of the payload. False: they are not there, or their sum is wrong.
  bool CopyData(const v1::OpResult& result, std::byte* to);

 private:
  ::grpc::ByteBuffer& bytes_;
  bool has_attached_ = false;
  bool has_notice_ = false;
  v1::IoAttached attached_;
  v1::IoNotice notice_;
  std::vector<v1::OpResult> results_;
  std::vector<std::span<const uint8_t>> payload_;  // pieces of bytes_
  // Where the last copy ended, since results lie there in their order.
  size_t piece_ = 0;
  uint64_t piece_begins_ = 0;  // bytes of the payload before it
};

}  // namespace internal
SLUICE_SDK_END
