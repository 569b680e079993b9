// SPDX-License-Identifier: Apache-2.0
// HTTP/2 frames (RFC 9113) as bytes, for those who count them.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace sluice::rpc {

enum : uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kRstStream = 3,
  kSettings = 4,
  kPushPromise = 5,
  kPing = 6,
  kGoAway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
};
inline constexpr uint8_t kAck = 1, kEndStream = 1, kEndHeaders = 4, kPadded = 8;

inline std::string FrameOf(uint8_t type, uint8_t flags, uint32_t stream, size_t length) {
  std::string frame;
  for (int shift = 16; shift >= 0; shift -= 8) frame += static_cast<char>(length >> shift);
  frame += static_cast<char>(type);
  frame += static_cast<char>(flags);
  for (int shift = 24; shift >= 0; shift -= 8) frame += static_cast<char>(stream >> shift);
  return frame.append(length, 'x');
}
inline std::string Preface() { return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"; }
// What every client begins with.
inline std::string Greeting() { return Preface() + FrameOf(kSettings, 0, 0, 0); }
inline std::span<const std::byte> Bytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}

}  // namespace sluice::rpc
