// SPDX-License-Identifier: Apache-2.0
// The requests of one connection that await their replies. Found by cookie: a slot's number and how
// often it was used, so that a reply nobody waits for is known as such. One thread.
#pragma once

#include <cstdint>
#include <vector>

#include "proto/nbd.h"

namespace sluice {

struct Request {
  uint64_t cookie = 0;
  uint64_t offset = 0;
  uint64_t sent_ns = 0;
  uint32_t length = 0;    // bytes it is about
  uint32_t received = 0;  // bytes of a READ that have come
  nbd::Command command = {};
  nbd::Error error = nbd::Error::kNone;  // the first one an answer of several chunks told
  bool checked = false;                  // what is read must match
  bool mismatch = false;                 // and did not
  bool in_flight = false;

  uint32_t slot() const { return static_cast<uint32_t>(cookie) & 0xffff; }
};

class Flight {
 public:
  // `depth` is at most 65536.
  explicit Flight(uint32_t depth) : slots_(depth), free_(depth) {
    for (uint32_t i = 0; i < depth; ++i) {
      slots_[i].cookie = i;
      free_[i] = depth - 1 - i;
    }
  }

  bool full() const { return free_.empty(); }
  uint32_t in_flight() const { return static_cast<uint32_t>(slots_.size() - free_.size()); }

  // Not when full. The cookie is new, the rest is as the last one left it.
  Request& Take() {
    Request& request = slots_[free_.back()];
    free_.pop_back();
    request.cookie += uint64_t{1} << 16;
    request.received = 0;
    request.error = nbd::Error::kNone;
    request.mismatch = false;
    request.in_flight = true;
    return request;
  }

  // nullptr when nothing of that cookie is in flight.
  Request* Find(uint64_t cookie) {
    const uint64_t slot = cookie & 0xffff;
    if (slot >= slots_.size()) return nullptr;
    Request& request = slots_[slot];
    return request.in_flight && request.cookie == cookie ? &request : nullptr;
  }

  void Release(Request& request) {
    request.in_flight = false;
    free_.push_back(request.slot());
  }

 private:
  std::vector<Request> slots_;
  std::vector<uint32_t> free_;
};

}  // namespace sluice
