// SPDX-License-Identifier: Apache-2.0
// A scripted client of a Session: a manual reactor, a wire that can be cut, slow or full, and
// replies taken apart.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "core/poller.h"
#include "core/reactor.h"
#include "proto/nbd_transmission.h"
#include "server/nbd/session.h"
#include "tests/server/fake_target.h"

namespace sluice::nbd {

using Bytes = std::vector<uint8_t>;

// One simple reply or one chunk.
struct Answer {
  bool structured = false;
  uint64_t cookie = 0;
  Error error = Error::kNone;
  ChunkType type = ChunkType::kNone;
  bool done = true;
  uint64_t offset = 0;  // of data, hole or error
  bool has_offset = false;
  uint32_t hole_bytes = 0;
  Bytes data;
  std::string text;
  std::vector<StatusExtent> status;
  bool operator==(const Answer&) const = default;
};

inline Bytes RequestBytes(Command command, uint64_t cookie, uint64_t offset, uint32_t length,
                          uint16_t flags = 0) {
  Bytes bytes(kRequestBytes);
  EncodeRequest({flags, command, cookie, offset, length}, std::span(bytes).first<kRequestBytes>());
  return bytes;
}

// The payload of a write is a function of its place and a seed.
inline Bytes Payload(uint64_t offset, size_t size, uint64_t seed = 1) {
  Bytes bytes(size);
  for (size_t i = 0; i < size; ++i) {
    const uint64_t x = (offset + i) * 0x9e3779b97f4a7c15 + seed * 0xd1b54a32d192ed03;
    bytes[i] = static_cast<uint8_t>(x >> 56 | 1);  // never zero
  }
  return bytes;
}

inline Bytes WriteBytes(uint64_t cookie, uint64_t offset, uint32_t length, uint16_t flags = 0) {
  Bytes bytes = RequestBytes(Command::kWrite, cookie, offset, length, flags);
  const Bytes payload = Payload(offset, length);
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return bytes;
}

// Takes apart what a server sent. `reads` tells the lengths of READs answered by simple replies.
std::vector<Answer> ParseReplies(ConstByteSpan bytes, const std::map<uint64_t, uint32_t>& reads,
                                 Bytes* rest);

struct SessionSetup {
  uint64_t size = 1 << 20;
  bool structured = true;
  bool contexts = true;
  bool block_sizes = false;  // the client asked for them
  ExportInfo info;           // size is filled in
  Session::Options options;
  uint32_t credits = 256;
  size_t pool_bytes = 4 << 20;
  Bytes unparsed;
  bool crossing = false;  // the target lives on another reactor than the session
};

class SessionWire final : public Session::Owner {
 public:
  explicit SessionWire(const SessionSetup& setup = {});
  ~SessionWire();

  void OnSessionChanged() noexcept override { ++changes; }

  // Puts bytes on the wire; Pump() moves them.
  void Put(const Bytes& bytes) { incoming.insert(incoming.end(), bytes.begin(), bytes.end()); }
  // Receives (at most `receive_max` bytes at a time), sends (at most `send_max`), turns, until
  // nothing moves any more.
  void Pump();
  // Runs f on the session's reactor, then whatever follows from it; the wire stands still.
  void On(absl::AnyInvocable<void()> f);
  // The same on the target's.
  void OnHome(absl::AnyInvocable<void()> f);

  // Put, Pump, and all that was answered.
  std::vector<Answer> Ask(const Bytes& bytes);
  Answer AskOne(const Bytes& bytes);
  std::vector<Answer> TakeAnswers();

  // A small request of each kind, answered by one reply.
  Answer Ask(Command command, uint64_t offset, uint32_t length, uint16_t flags = 0);
  bool alive() { return Ask(Command::kRead, 0, 512).error == Error::kNone; }

  // The client leaves: nothing moves any more, the session lets go.
  void Abandon();

  ManualClock clock;
  std::unique_ptr<ReactorSet> reactors;
  std::unique_ptr<FakeTarget> target;
  ClientStats stats;
  std::unique_ptr<Session> session;

  Bytes incoming;
  Bytes outgoing;
  size_t receive_max = SIZE_MAX;
  size_t send_max = SIZE_MAX;
  bool reads = true;  // the client takes what is sent
  int changes = 0;
  std::map<uint64_t, uint32_t> simple_reads;

  Reactor& reactor() { return reactors->at(0); }

 private:
  void Settle();
  bool MoveOnce();
  void NoteReads(const Bytes& bytes);

  bool structured_;
  uint64_t next_cookie_ = 1000;
};

}  // namespace sluice::nbd
