// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/meter.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

namespace sluice::rpc {
namespace {

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";  // RFC 9113, 3.4

// RFC 9113, 6.
enum Type : uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kRstStream = 3,
  kSettings = 4,
  kPushPromise = 5,
  kPing = 6,
  kWindowUpdate = 8,
  kContinuation = 9,
};
constexpr uint8_t kAck = 1;        // SETTINGS, PING
constexpr uint8_t kEndStream = 1;  // DATA, HEADERS
constexpr uint8_t kEndHeaders = 4;
constexpr uint8_t kPadded = 8;
constexpr double kUpdatesPerAnswer = 4;  // stream and connection, and as many to grow the windows

Offence Unless(bool good, Offence offence) { return good ? Offence::kNone : offence; }

uint32_t BigEndian(const std::byte* at, int bytes) {
  uint32_t value = 0;
  for (int i = 0; i < bytes; ++i) value = value << 8 | std::to_integer<uint32_t>(at[i]);
  return value;
}

}  // namespace

const char* TextOf(Offence offence) {
  switch (offence) {
    case Offence::kNone:
      break;
    case Offence::kNotHttp2:
      return "does not speak HTTP/2";
    case Offence::kFrameSize:
      return "sends larger frames than it may";
    case Offence::kHeaderBlock:
      return "floods with headers";
    case Offence::kResets:
      return "floods with resets of streams";
    case Offence::kProvokedResets:
      return "floods with malformed streams";
    case Offence::kPings:
      return "floods with PING";
    case Offence::kSettings:
      return "floods with SETTINGS";
    case Offence::kPriorities:
      return "floods with PRIORITY";
    case Offence::kWindowUpdates:
      return "floods with WINDOW_UPDATE";
    case Offence::kEmptyData:
      return "floods with empty DATA";
    case Offence::kOthers:
      return "floods with frames that no gRPC client sends";
  }
  return "";
}

// Calls on_frame for each head that is complete in `bytes`, until an offence.
template <typename OnFrame>
Offence Http2Meter::Walk(Direction& direction, std::span<const std::byte> bytes, OnFrame on_frame) {
  while (!bytes.empty()) {
    if (direction.payload_left > 0) {
      const size_t skipped = std::min<size_t>(direction.payload_left, bytes.size());
      direction.payload_left -= static_cast<uint32_t>(skipped);
      bytes = bytes.subspan(skipped);
      continue;
    }
    const size_t taken = std::min(kHead - direction.have, bytes.size());
    std::memcpy(direction.head + direction.have, bytes.data(), taken);
    direction.have += taken;
    bytes = bytes.subspan(taken);
    if (direction.have < kHead) break;
    direction.have = 0;
    const Frame frame{BigEndian(direction.head, 3), std::to_integer<uint8_t>(direction.head[3]),
                      std::to_integer<uint8_t>(direction.head[4]),
                      BigEndian(direction.head + 5, 4) & 0x7fffffff};
    direction.payload_left = frame.length;
    if (const Offence offence = on_frame(frame); offence != Offence::kNone) return offence;
  }
  return Offence::kNone;
}

std::span<const std::byte> Http2Meter::SkipPreface(std::span<const std::byte> bytes,
                                                   Offence& offence) {
  const size_t taken = std::min(kPreface.size() - preface_have_, bytes.size());
  if (taken > 0 && std::memcmp(kPreface.data() + preface_have_, bytes.data(), taken) != 0) {
    offence = Offence::kNotHttp2;
  }
  preface_have_ += taken;
  return bytes.subspan(taken);
}

Offence Http2Meter::FromClient(std::span<const std::byte> bytes, uint64_t now_ns) {
  Offence offence = Offence::kNone;
  bytes = SkipPreface(bytes, offence);
  if (offence != Offence::kNone) return offence;
  return Walk(client_, bytes, [&](const Frame& frame) { return OnClientFrame(frame, now_ns); });
}

Offence Http2Meter::FromServer(std::span<const std::byte> bytes, uint64_t now_ns) {
  return Walk(server_, bytes, [&](const Frame& frame) { return OnServerFrame(frame, now_ns); });
}

Http2Meter::Passed Http2Meter::Take() { return std::exchange(passed_, {}); }

Offence Http2Meter::OnClientFrame(const Frame& frame, uint64_t now_ns) {
  ++passed_.frames;
  if (frame.length > frame_max_) return Offence::kFrameSize;
  // 6.10: nothing stands between the parts of a header block. 3.4: SETTINGS come first.
  if (in_block_ != (frame.type == kContinuation)) return Offence::kNotHttp2;
  if (!std::exchange(settled_, true) && frame.type != kSettings) return Offence::kNotHttp2;
  switch (frame.type) {
    case kData:
      if ((frame.flags & kPadded) != 0) break;
      if (frame.length > 0 || (frame.flags & kEndStream) != 0) return Offence::kNone;
      return Unless(empty_data_.Take(1, now_ns), Offence::kEmptyData);
    case kHeaders:
      return OnHeaders(frame, now_ns);
    case kContinuation:
      return OnContinuation(frame);
    case kPriority:
      return Unless(priorities_.Take(1, now_ns), Offence::kPriorities);
    case kRstStream:
      ++passed_.resets;
      return Unless(resets_.Take(1, now_ns), Offence::kResets);
    case kSettings:
      return Unless(frame.length <= kSettingsMax && settings_.Take(1, now_ns), Offence::kSettings);
    case kPing:
      return Unless(pings_.Take(1, now_ns), Offence::kPings);
    case kWindowUpdate:
      return Unless(window_updates_.Take(1, now_ns), Offence::kWindowUpdates);
    case kPushPromise:
      return Offence::kNotHttp2;
    default:
      break;
  }
  return Unless(others_.Take(1, now_ns), Offence::kOthers);
}

Offence Http2Meter::OnHeaders(const Frame& frame, uint64_t now_ns) {
  if (frame.length > kHeaderBlockMax) return Offence::kHeaderBlock;
  in_block_ = (frame.flags & kEndHeaders) == 0;
  block_bytes_ = frame.length;
  continuations_ = 0;
  const bool begins = frame.stream > last_stream_;
  if (begins) {
    last_stream_ = frame.stream;
    ++passed_.streams;
  }
  if (begins && (frame.flags & kPadded) == 0) return Offence::kNone;
  return Unless(others_.Take(1, now_ns), Offence::kOthers);
}

Offence Http2Meter::OnContinuation(const Frame& frame) {
  block_bytes_ += frame.length;
  if (block_bytes_ > kHeaderBlockMax || ++continuations_ > kContinuationsMax) {
    return Offence::kHeaderBlock;
  }
  in_block_ = (frame.flags & kEndHeaders) == 0;
  return Offence::kNone;
}

Offence Http2Meter::OnServerFrame(const Frame& frame, uint64_t now_ns) {
  const bool trailers = frame.type == kHeaders && (frame.flags & kEndStream) != 0;
  const uint32_t ended = std::exchange(ended_stream_, trailers ? frame.stream : 0);
  switch (frame.type) {
    case kData:
    case kHeaders:
      pings_.Give(1);
      window_updates_.Give(kUpdatesPerAnswer);
      break;
    case kRstStream:
      if (frame.stream == ended) return Offence::kNone;
      ++passed_.resets;
      return Unless(provoked_resets_.Take(1, now_ns), Offence::kProvokedResets);
    case kSettings:
      if ((frame.flags & kAck) == 0) settings_.Give(1);
      break;
    case kPing:
      if ((frame.flags & kAck) == 0) pings_.Give(1);
      break;
    default:
      break;
  }
  return Offence::kNone;
}

}  // namespace sluice::rpc
