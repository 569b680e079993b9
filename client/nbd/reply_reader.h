// SPDX-License-Identifier: Apache-2.0
// Takes a server's byte stream apart into replies, whole or in pieces, without I/O: the caller
// receives into Room() and says how much came. Simple replies, and chunks when structured replies
// were agreed. The server is not trusted: whatever breaks the protocol ends the stream with a
// DataLoss status that says what. One thread; allocates at construction only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "client/nbd/flight.h"
#include "proto/bytes.h"
#include "proto/nbd_transmission.h"

namespace sluice {

class ReplySink {
 public:
  // A piece of what a READ brings, in the buffer until the call returns.
  virtual void OnData(Request& request, uint64_t offset, ConstByteSpan bytes) = 0;
  // A READ's `length` bytes at `offset` are zeroes.
  virtual void OnHole(Request& request, uint64_t offset, uint32_t length) = 0;
  // Where `length` bytes at `offset` of what a READ brings may be received directly, bypassing
  // OnData; nullptr: they may not.
  virtual uint8_t* PlaceFor(Request& request, uint64_t offset, uint64_t length);
  // Descriptors of a BLOCK_STATUS's answer, nbd::kStatusExtentBytes each. Only for who asks for it.
  virtual void OnExtents(Request& request, ConstByteSpan descriptors);
  // The last of `request`, its error in it. Still in flight: the sink releases it.
  virtual void OnDone(Request& request) = 0;

 protected:
  ~ReplySink() = default;
};

class ReplyReader {
 public:
  static constexpr size_t kBufferBytes = 256 << 10;

  // `context` is the id of base:allocation, when it was agreed.
  ReplyReader(Flight& flight, ReplySink& sink, bool structured,
              std::optional<uint32_t> context = std::nullopt)
      : flight_(flight),
        sink_(sink),
        structured_(structured),
        context_(context),
        buffer_(kBufferBytes) {}
  ReplyReader(const ReplyReader&) = delete;
  ReplyReader& operator=(const ReplyReader&) = delete;

  // Where the next bytes go; never empty.
  ByteSpan Room();
  // The first `count` bytes of Room() have come. After an error nothing more may be taken.
  absl::Status Take(size_t count);

 private:
  // The head of `bytes` that was used up; 0 when it is too short to say anything.
  absl::StatusOr<size_t> TakeHead(ConstByteSpan bytes);
  absl::StatusOr<size_t> TakeSimple(ConstByteSpan bytes);
  absl::StatusOr<size_t> TakeChunk(ConstByteSpan bytes);
  absl::Status TakeHole(Request& request, ConstByteSpan body);
  absl::Status BeginData(Request& request, uint64_t offset, uint64_t length, bool last);
  absl::StatusOr<size_t> BeginExtents(Request& request, const nbd::ChunkHeader& header,
                                      ConstByteSpan body);
  // Bytes of the payload under way that were used up.
  size_t TakePayload(ConstByteSpan bytes);
  absl::Status EndPayload();
  absl::Status Finish(Request& request);

  Flight& flight_;
  ReplySink& sink_;
  const bool structured_;
  const std::optional<uint32_t> context_;
  std::vector<uint8_t> buffer_;
  size_t kept_ = 0;  // bytes of an incomplete header, at the front of the buffer

  Request* reading_ = nullptr;  // whose payload is under way
  uint64_t payload_offset_ = 0;
  uint64_t payload_left_ = 0;
  bool payload_last_ = false;
  bool extents_ = false;  // the payload is a BLOCK_STATUS's
  bool direct_ = false;   // the last Room() was the reader's of the data
};

}  // namespace sluice
