// SPDX-License-Identifier: Apache-2.0
// The client's end of a Wire: says NBD sentences and reads the answers.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proto/nbd_handshake.h"
#include "proto/nbd_transmission.h"
#include "tests/server/memory_transport.h"

namespace sluice::nbd {

class WireClient {
 public:
  explicit WireClient(std::shared_ptr<Wire> wire) : wire_(std::move(wire)) {}

  Wire& wire() { return *wire_; }
  // The server has let go of the connection.
  bool gone() const { return wire_->gone(); }

  WireClient& Hello() { return Say(EncodeClientFlags(kFixedNewstyle | kNoZeroes)); }
  WireClient& Ask(Option option, ConstByteSpan data = {}) {
    Say(EncodeOptionHeader({option, static_cast<uint32_t>(data.size())}));
    return Say(data);
  }
  WireClient& Go(std::string_view name) {
    std::vector<uint8_t> query(6 + name.size());
    EncodeExportQuery(name, {}, query);
    return Ask(Option::kGo, query);
  }
  WireClient& Write(uint64_t cookie, uint64_t offset, uint32_t length) {
    WriteHeader(cookie, offset, length);
    return Say(std::vector<uint8_t>(length, static_cast<uint8_t>(cookie)));
  }
  WireClient& WriteHeader(uint64_t cookie, uint64_t offset, uint32_t length) {
    return Request({0, Command::kWrite, cookie, offset, length});
  }
  WireClient& Read(uint64_t cookie, uint64_t offset, uint32_t length) {
    return Request({0, Command::kRead, cookie, offset, length});
  }
  WireClient& Disconnect() { return Request({0, Command::kDisc, 0, 0, 0}); }

  // The answers to options since the last call; the greeting is skipped.
  std::vector<OptionReply> OptionReplies() {
    unread_ += wire_->Take();
    if (!greeted_ && unread_.size() >= kGreetingBytes) {
      greeted_ = true;
      unread_.erase(0, kGreetingBytes);
    }
    std::vector<OptionReply> types;
    while (greeted_ && unread_.size() >= kOptionReplyHeaderBytes) {
      const auto header = DecodeOptionReplyHeader(Unread().first(kOptionReplyHeaderBytes));
      if (!header || unread_.size() < kOptionReplyHeaderBytes + header->length) break;
      unread_.erase(0, kOptionReplyHeaderBytes + header->length);
      types.push_back(header->type);
    }
    return types;
  }

  // The simple replies since the last call; of requests that carry no data back.
  std::vector<SimpleReply> Replies() {
    unread_ += wire_->Take();
    std::vector<SimpleReply> replies;
    while (unread_.size() >= kSimpleReplyBytes) {
      const auto reply = DecodeSimpleReply(Unread().first(kSimpleReplyBytes));
      if (!reply) break;
      unread_.erase(0, kSimpleReplyBytes);
      replies.push_back(*reply);
    }
    return replies;
  }

 private:
  ConstByteSpan Unread() const {
    return {reinterpret_cast<const uint8_t*>(unread_.data()), unread_.size()};
  }
  WireClient& Say(ConstByteSpan bytes) {
    wire_->Write(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
    return *this;
  }
  WireClient& Request(const nbd::Request& request) {
    std::array<uint8_t, kRequestBytes> bytes;
    EncodeRequest(request, bytes);
    return Say(bytes);
  }

  std::shared_ptr<Wire> wire_;
  std::string unread_;
  bool greeted_ = false;
};

}  // namespace sluice::nbd
