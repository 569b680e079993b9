// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/reply.h"

#include <algorithm>
#include <cstring>

#include "server/nbd/handshake.h"
#include "storage/zeroes.h"

namespace sluice::nbd {
namespace {

// A hole is worth a chunk of its own from this size on; holes start and end at its multiples.
constexpr uint64_t kGranule = 4096;
// Chunks of one reply; what is left is data, zeroes or not.
constexpr size_t kMaxChunks = 128;
constexpr size_t kHoleChunkBytes = kChunkHeaderBytes + kOffsetHoleBytes;
constexpr size_t kSmallHeadBytes = 256;

// Walks the data of a READ through its parts' segments.
class DataCursor {
 public:
  explicit DataCursor(const ServedRequest& request) : request_(request) { Enter(); }

  // Calls f(data, size) for each piece of the next `bytes`.
  template <typename F>
  void Walk(uint64_t bytes, F&& f) {
    while (bytes > 0) {
      const Bio& bio = request_.parts[part_]->bio;
      if (in_part_ == bio.length) {
        ++part_;
        Enter();
        continue;
      }
      const Segment& segment = bio.segs[segment_];
      const uint64_t size =
          std::min({bytes, segment.iov_len - in_segment_, uint64_t{bio.length} - in_part_});
      f(static_cast<const char*>(segment.iov_base) + in_segment_, size);
      bytes -= size;
      in_part_ += static_cast<uint32_t>(size);
      in_segment_ += size;
      if (in_segment_ < segment.iov_len) continue;
      in_segment_ = 0;
      ++segment_;
    }
  }

 private:
  void Enter() {
    segment_ = 0;
    in_part_ = 0;
    in_segment_ = part_ < request_.parts.size() ? request_.parts[part_]->bio.seg_skip : 0;
  }

  const ServedRequest& request_;
  size_t part_ = 0;
  size_t segment_ = 0;
  uint32_t in_part_ = 0;
  size_t in_segment_ = 0;
};

// Puts the reply's own bytes, whose room is reserved, behind each other and queues them.
class Head {
 public:
  Head(ServedRequest& request, size_t room) : bytes_(request.head) {
    bytes_.clear();
    bytes_.reserve(std::max(room, kSmallHeadBytes));
  }

  // `count` more bytes; those handed out before stay where they are.
  template <size_t count>
  std::span<uint8_t, count> Grow() {
    return Grow(count).template first<count>();
  }
  ByteSpan Grow(size_t count) {
    SLUICE_CHECK(bytes_.capacity() - bytes_.size() >= count);
    bytes_.resize(bytes_.size() + count);
    return ByteSpan(bytes_).last(count);
  }

  // Queues what has grown since the last call.
  void Flush(ReplyQueue& queue) {
    queue.Add(bytes_.data() + flushed_, bytes_.size() - flushed_);
    flushed_ = bytes_.size();
  }

 private:
  std::vector<uint8_t>& bytes_;
  size_t flushed_ = 0;
};

void RenderSimple(ServedRequest& request, ReplyQueue& queue) {
  EncodeSimpleReply({NbdError(request.error), request.header.cookie}, request.simple_reply);
  queue.Add(request.simple_reply, kSimpleReplyBytes);
  if (request.error != 0 || request.header.command != Command::kRead) return;
  DataCursor(request).Walk(request.header.length,
                           [&](const char* data, size_t size) { queue.Add(data, size); });
}

void RenderErrorChunk(ServedRequest& request, ReplyQueue& queue) {
  const ErrorBody body{NbdError(request.error), request.text, request.error_offset};
  const ChunkType type = body.offset ? ChunkType::kErrorOffset : ChunkType::kError;
  const size_t body_bytes = MaxErrorBodyBytes(body.text.size()) - (body.offset ? 0 : 8);
  Head head(request, kChunkHeaderBytes + body_bytes);
  EncodeChunkHeader({kChunkDone, type, request.header.cookie, static_cast<uint32_t>(body_bytes)},
                    head.Grow<kChunkHeaderBytes>());
  EncodeErrorBody(body, head.Grow(body_bytes));
  head.Flush(queue);
}

// A stretch of a READ that becomes one chunk.
struct Run {
  uint64_t length = 0;
  bool hole = false;
};

// Cuts the data into at most kMaxChunks runs; returns how many.
size_t FindRuns(const ServedRequest& request, Run* runs) {
  const Request& header = request.header;
  DataCursor cursor(request);
  size_t count = 0;
  for (uint64_t at = 0; at < header.length;) {
    const uint64_t to_border = kGranule - (header.offset + at) % kGranule;
    uint64_t step = std::min(to_border, header.length - at);
    bool hole = step == kGranule;
    if (count == kMaxChunks) {  // the last run takes all the rest
      runs[count - 1].hole = false;
      step = header.length - at;
      runs[count - 1].length += step;
      break;
    }
    cursor.Walk(step, [&](const char* data, size_t size) { hole = hole && AllZero(data, size); });
    if (count == 0 || runs[count - 1].hole != hole) runs[count++] = {0, hole};
    runs[count - 1].length += step;
    at += step;
  }
  return count;
}

void RenderRead(ServedRequest& request, ReplyQueue& queue) {
  const Request& header = request.header;
  Run runs[kMaxChunks];
  size_t count = 1;
  runs[0] = {header.length, false};
  const bool whole = (header.flags & kFlagDf) != 0 || header.length < kGranule;
  if (!whole) count = FindRuns(request, runs);

  Head head(request, count * kHoleChunkBytes);
  DataCursor cursor(request);
  uint64_t offset = header.offset;
  for (size_t i = 0; i < count; ++i) {
    const uint16_t flags = i + 1 == count ? kChunkDone : uint16_t{0};
    const auto length = static_cast<uint32_t>(runs[i].length);
    if (runs[i].hole) {
      EncodeChunkHeader({flags, ChunkType::kOffsetHole, header.cookie, kOffsetHoleBytes},
                        head.Grow<kChunkHeaderBytes>());
      EncodeOffsetHole({offset, length}, head.Grow<kOffsetHoleBytes>());
      head.Flush(queue);
      cursor.Walk(length, [](const char*, size_t) {});
    } else {
      EncodeChunkHeader({flags, ChunkType::kOffsetData, header.cookie,
                         static_cast<uint32_t>(kOffsetDataBytes + length)},
                        head.Grow<kChunkHeaderBytes>());
      EncodeOffsetData(offset, head.Grow<kOffsetDataBytes>());
      head.Flush(queue);
      cursor.Walk(length, [&](const char* data, size_t size) { queue.Add(data, size); });
    }
    offset += length;
  }
}

void RenderNothing(ServedRequest& request, ReplyQueue& queue) {
  Head head(request, 0);
  EncodeChunkHeader({kChunkDone, ChunkType::kNone, request.header.cookie, 0},
                    head.Grow<kChunkHeaderBytes>());
  head.Flush(queue);
}

void RenderStatus(ServedRequest& request, ReplyQueue& queue) {
  const size_t body_bytes = kContextIdBytes + request.status.size() * kStatusExtentBytes;
  Head head(request, kChunkHeaderBytes + body_bytes);
  EncodeChunkHeader({kChunkDone, ChunkType::kBlockStatus, request.header.cookie,
                     static_cast<uint32_t>(body_bytes)},
                    head.Grow<kChunkHeaderBytes>());
  EncodeContextId(kAllocationContextId, head.Grow<kContextIdBytes>());
  for (const StatusExtent& extent : request.status) {
    EncodeStatusExtent(extent, head.Grow<kStatusExtentBytes>());
  }
  head.Flush(queue);
}

}  // namespace

void ReplyQueue::Add(const void* data, size_t size) {
  if (size == 0) return;
  if (!pieces_.empty() && first_ < pieces_.size()) {  // grow the last piece if it goes on there
    Piece& last = pieces_.back();
    const char* end = static_cast<char*>(last.memory.iov_base) + last.memory.iov_len;
    if (last.last_of == nullptr && end == data) {
      last.memory.iov_len += size;
      return;
    }
  }
  pieces_.push_back({{const_cast<void*>(data), size}, nullptr});
}

void ReplyQueue::End(ServedRequest& request) {
  SLUICE_CHECK(!empty() && pieces_.back().last_of == nullptr);
  pieces_.back().last_of = &request;
}

size_t ReplyQueue::Output(Segment* out, size_t room) const {
  const size_t count = std::min(room, pieces_.size() - first_);
  for (size_t i = 0; i < count; ++i) out[i] = pieces_[first_ + i].memory;
  if (count > 0) {
    out[0].iov_base = static_cast<char*>(out[0].iov_base) + skip_;
    out[0].iov_len -= skip_;
  }
  return count;
}

void ReplyQueue::Compact() {
  if (first_ < pieces_.size() && first_ < 1024) return;
  pieces_.erase(pieces_.begin(), pieces_.begin() + static_cast<ptrdiff_t>(first_));
  first_ = 0;
}

void ReplyQueue::Clear() {
  pieces_.clear();
  first_ = 0;
  skip_ = 0;
}

void Render(ServedRequest& request, bool structured, ReplyQueue& queue) {
  const Command command = request.header.command;
  if (!structured) {
    RenderSimple(request, queue);
  } else if (request.error != 0) {
    RenderErrorChunk(request, queue);
  } else if (command == Command::kBlockStatus) {
    RenderStatus(request, queue);
  } else if (command != Command::kRead) {
    RenderSimple(request, queue);
  } else if (request.header.length == 0) {
    RenderNothing(request, queue);
  } else {
    RenderRead(request, queue);
  }
  queue.End(request);
}

}  // namespace sluice::nbd
