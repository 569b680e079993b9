// SPDX-License-Identifier: Apache-2.0
// Counts the HTTP/2 frames (RFC 9113) of one connection as they pass, and says when its client does
// what no gRPC client does. Sees the 9 bytes in front of each frame and nothing of what they carry;
// holds no bytes back. Without I/O: bytes may be cut anywhere.
//
// Why. Debian's gRPC 1.51 falls to rapid reset (CVE-2023-44487), CONTINUATION and HPACK floods
// (CVE-2023-33953) and pays for every PING and SETTINGS; its own limits do not help. What honest
// clients send of these is bounded by what they are sent (an acknowledgement for a SETTINGS, window
// updates and pings for data) or by what a call costs them; the budgets follow that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "server/token_bucket.h"

namespace sluice::rpc {

enum class Offence : uint8_t {
  kNone,
  kNotHttp2,  // no preface, or frames that cannot stand where they do
  kFrameSize,
  kHeaderBlock,
  kResets,
  kProvokedResets,  // the server's, of streams that are malformed (CVE-2025-8671)
  kPings,
  kSettings,
  kPriorities,
  kWindowUpdates,
  kEmptyData,
  kOthers,  // unknown frames, GOAWAY, trailers, padding
};
inline constexpr size_t kOffences = 12;

// As an operator's log names it.
const char* TextOf(Offence offence);

// One thread.
class Http2Meter {
 public:
  // Bytes of one header block, HEADERS and CONTINUATIONs together: four times what gRPC takes of
  // metadata, uncompressed.
  static constexpr uint32_t kHeaderBlockMax = 32 * 1024;
  static constexpr uint32_t kContinuationsMax = 8;  // of one block
  static constexpr uint32_t kSettingsMax = 1024;    // bytes of one SETTINGS

  // `frame_max`: what the server announces as SETTINGS_MAX_FRAME_SIZE.
  explicit Http2Meter(uint32_t frame_max) : frame_max_(frame_max) {}

  // What passes. Bytes in which an offence lies, and all later ones, are not passed on.
  Offence FromClient(std::span<const std::byte> bytes, uint64_t now_ns);
  Offence FromServer(std::span<const std::byte> bytes, uint64_t now_ns);

  struct Passed {
    uint32_t frames = 0;
    uint32_t streams = 0;  // begun
    uint32_t resets = 0;   // of streams, the server's provoked ones too
  };
  // What the client has sent or provoked since the last time.
  Passed Take();

  // The server's last frame is whole: another may be put behind it.
  bool server_between_frames() const { return server_.have == 0 && server_.payload_left == 0; }

 private:
  static constexpr size_t kHead = 9;
  struct Frame {
    uint32_t length;
    uint8_t type, flags;
    uint32_t stream;
  };
  struct Direction {
    std::byte head[kHead] = {};
    size_t have = 0;  // of the head
    uint32_t payload_left = 0;
  };

  template <typename OnFrame>
  static Offence Walk(Direction& direction, std::span<const std::byte> bytes, OnFrame on_frame);
  std::span<const std::byte> SkipPreface(std::span<const std::byte> bytes, Offence& offence);
  Offence OnClientFrame(const Frame& frame, uint64_t now_ns);
  Offence OnServerFrame(const Frame& frame, uint64_t now_ns);
  Offence OnHeaders(const Frame& frame, uint64_t now_ns);
  Offence OnContinuation(const Frame& frame);

  const uint32_t frame_max_;
  Direction client_, server_;
  size_t preface_have_ = 0;
  bool settled_ = false;  // the client's first SETTINGS came
  uint32_t last_stream_ = 0;
  uint32_t ended_stream_ = 0;  // the server's frame before this one was its trailers; 0: was not
  bool in_block_ = false;
  uint32_t block_bytes_ = 0;
  uint32_t continuations_ = 0;
  Passed passed_;

  // On a drive that hangs all calls time out, and each is reset: a client may have 128, and with
  // deadlines of 16 ms gives up 8000 a second, which is no offence and has a pace (guest_book.h).
  // The burst is four times all of them, and less than the pace's, so that who floods is seen at
  // its own speed.
  TokenBucket resets_{{512, 8192}};
  // But for those that end a call in order, behind its trailers: gRPC says so to a client whose
  // deadline is over, and says it again, long after, if the call has waited to be taken. Bare are
  // those of malformed streams, and those that gRPC refuses for lack of memory: paced as well.
  TokenBucket provoked_resets_{{1024, 8192}};
  // Besides one for each answering frame (the client measures bandwidth with them).
  TokenBucket pings_{{256, 10}};
  TokenBucket settings_{{64, 10}};
  TokenBucket priorities_{{128, 20}};
  TokenBucket window_updates_{{8192, 2000}};
  TokenBucket empty_data_{{128, 20}};
  TokenBucket others_{{64, 5}};
};

}  // namespace sluice::rpc
