// SPDX-License-Identifier: Apache-2.0
// Takes a server's byte stream apart into replies, whole or in pieces, without I/O: the caller
// receives into Room() and says how much came. Simple replies, and chunks when structured replies
// were agreed. The server is not trusted: whatever breaks the protocol ends the stream with a
// DataLoss status that says what. One thread; allocates at construction only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "client/bench/flight.h"
#include "proto/bytes.h"

namespace sluice::bench {

class ReplySink {
 public:
  // A piece of what a READ brings, in the buffer until the call returns.
  virtual void OnData(Request& request, uint64_t offset, ConstByteSpan bytes) = 0;
  // A READ's `length` bytes at `offset` are zeroes.
  virtual void OnHole(Request& request, uint64_t offset, uint32_t length) = 0;
  // The last of `request`, its error in it. Still in flight: the sink releases it.
  virtual void OnDone(Request& request) = 0;

 protected:
  ~ReplySink() = default;
};

class ReplyReader {
 public:
  static constexpr size_t kBufferBytes = 256 << 10;

  ReplyReader(Flight& flight, ReplySink& sink, bool structured)
      : flight_(flight), sink_(sink), structured_(structured), buffer_(kBufferBytes) {}
  ReplyReader(const ReplyReader&) = delete;
  ReplyReader& operator=(const ReplyReader&) = delete;

  // Where the next bytes go; never empty.
  ByteSpan Room() { return ByteSpan(buffer_).subspan(kept_); }
  // The first `count` bytes of Room() have come. After an error nothing more may be taken.
  absl::Status Take(size_t count);

 private:
  // The head of `bytes` that was used up; 0 when it is too short to say anything.
  absl::StatusOr<size_t> TakeHead(ConstByteSpan bytes);
  absl::StatusOr<size_t> TakeSimple(ConstByteSpan bytes);
  absl::StatusOr<size_t> TakeChunk(ConstByteSpan bytes);
  absl::Status TakeHole(Request& request, ConstByteSpan body);
  absl::Status BeginData(Request& request, uint64_t offset, uint64_t length, bool last);
  void TakePayload(ConstByteSpan piece);
  absl::Status Finish(Request& request);

  Flight& flight_;
  ReplySink& sink_;
  const bool structured_;
  std::vector<uint8_t> buffer_;
  size_t kept_ = 0;  // bytes of an incomplete header, at the front of the buffer

  Request* reading_ = nullptr;  // whose payload is under way
  uint64_t payload_offset_ = 0;
  uint64_t payload_left_ = 0;
  bool payload_last_ = false;
};

}  // namespace sluice::bench
