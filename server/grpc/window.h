// SPDX-License-Identifier: Apache-2.0
// What a session remembers of its last ops: each op id runs at most once, and a late one never runs
// over a later one. Pure; one thread.
//
// Ids in (floor, floor + size] are known; those up to the floor are forgotten, because the client
// has acknowledged their results or a much larger id has come. An id is not forgotten while it
// runs.
#pragma once

#include <cstdint>
#include <vector>

#include "server/grpc/op.h"

namespace sluice::rpc {

inline constexpr uint64_t kOpIdMax = uint64_t{1} << 62;

class OpWindow {
 public:
  explicit OpWindow(uint32_t size) : entries_(size) {}

  enum class Verdict : uint8_t {
    kNew,        // it runs now: End() follows
    kRunning,    // it runs already
    kEnded,      // result() tells how
    kForgotten,  // below the window
    kFull,       // too far above what still runs
    kOther,      // this id was another op
    kOvertaken,  // it would change bytes that a later op was about: it must never run
  };
  // An op with this id arrived and is about to run. Its verdict kNew is remembered. REQUIRES: its
  // range does not wrap; 1 <= op_id <= kOpIdMax.
  Verdict Begin(const OpRequest& op);
  // It will not run now and may come again: as if it had never come. REQUIRES: kNew, not ended.
  void Forget(uint64_t op_id);
  // REQUIRES: kNew, not ended.
  void End(const OpResult& result);

  // REQUIRES: Begin() says kEnded.
  const OpResult& result(uint64_t op_id) const { return At(op_id).result; }

  // The client has the results of all ids up to this one. Nothing happens if one of them runs.
  void Acknowledge(uint64_t op_id);

  uint64_t floor() const { return floor_; }
  // Every id up to this one has ended or is forgotten.
  uint64_t completed_through() const;
  // Those that ended above the floor, by id.
  std::vector<OpResult> Ended() const;

 private:
  struct Entry {
    enum class State : uint8_t { kFree, kRunning, kEnded };
    State state = State::kFree;
    Op op = Op::kRead;
    uint64_t offset = 0;
    uint64_t length = 0;
    OpResult result;  // op_id from Begin() on
  };

  Entry& At(uint64_t op_id) { return entries_[op_id % entries_.size()]; }
  const Entry& At(uint64_t op_id) const { return entries_[op_id % entries_.size()]; }
  bool IsOvertaken(const OpRequest& op) const;
  bool RaiseFloor(uint64_t floor);

  std::vector<Entry> entries_;
  uint64_t floor_ = 0;
  uint64_t highest_ = 0;  // id that ever began
};

}  // namespace sluice::rpc
