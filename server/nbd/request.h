// SPDX-License-Identifier: Apache-2.0
// One client request from its header to the last byte of its reply, and where such records come
// from. They belong to a session and its reactor's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/bio.h"
#include "core/check.h"
#include "core/group.h"
#include "core/pool.h"
#include "core/target.h"
#include "proto/nbd_transmission.h"
#include "server/client_stats.h"
#include "server/request_memory.h"

namespace sluice::nbd {

class Session;

struct ServedRequest : RequestParts {
  enum class State : uint8_t {
    kFree,
    kReceiving,   // its payload comes into its parts
    kDiscarding,  // its payload is thrown away: refused, or the target swallows it
    kRunning,     // in the target
    kAnswered,    // its reply is rendered
  };

  // What every request touches, together.
  Session* session = nullptr;
  State state = State::kFree;
  bool sent = false;    // no byte of the reply is left to send
  bool asking = false;  // `query` is in the target
  RequestKind kind = RequestKind::kUnknown;
  int error = 0;  // the result
  Request header;
  uint64_t born_ns = 0;
  uint32_t taken = 0;       // payload bytes received or thrown away
  uint32_t unreleased = 0;  // of its parts; a cell's owner is this record
  uint8_t simple_reply[kSimpleReplyBytes];
  std::optional<BioGroup> group;
  const char* text = "";  // of the error, for humans
  std::optional<uint64_t> error_offset;

  // What few do.
  std::vector<uint8_t> head;  // a longer reply's own bytes: headers, small bodies
  ExtentQuery query;
  std::vector<StatusExtent> status;
  char text_buffer[96] = {};

  ServedRequest* next_free = nullptr;
};

// Records of one session: made when first needed, used again ever after, so that a session in its
// stride allocates nothing.
class RequestRecords {
 public:
  explicit RequestRecords(uint32_t limit) : limit_(limit) {}
  ~RequestRecords() { SLUICE_CHECK(used_ == 0); }

  bool full() const { return used_ == limit_; }
  uint32_t used() const { return used_; }

  // REQUIRES: not full().
  ServedRequest& New() {
    SLUICE_CHECK(!full());
    ++used_;
    if (free_ == nullptr) {
      all_.push_back(std::make_unique<ServedRequest>());
      return *all_.back();
    }
    ServedRequest& record = *free_;
    free_ = record.next_free;
    return record;
  }

  // REQUIRES: nobody refers to it.
  void Delete(ServedRequest& record) {
    SLUICE_CHECK(record.parts.empty() && record.unreleased == 0 && !record.asking);
    record.state = ServedRequest::State::kFree;
    record.next_free = free_;
    free_ = &record;
    --used_;
  }

  // Calls f for every record in use; f may delete it.
  template <typename F>
  void ForEach(F&& f) {
    for (size_t i = 0; i < all_.size(); ++i) {
      if (all_[i]->state != ServedRequest::State::kFree) f(*all_[i]);
    }
  }

 private:
  const uint32_t limit_;
  uint32_t used_ = 0;
  ServedRequest* free_ = nullptr;
  std::vector<std::unique_ptr<ServedRequest>> all_;
};

}  // namespace sluice::nbd
