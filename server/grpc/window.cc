// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/window.h"

#include <algorithm>

#include "core/check.h"

namespace sluice::rpc {

OpWindow::Verdict OpWindow::Begin(const OpRequest& op) {
  if (op.op_id <= floor_) return Verdict::kForgotten;
  const uint64_t size = entries_.size();
  if (op.op_id - floor_ > size && !RaiseFloor(op.op_id - size)) return Verdict::kFull;
  Entry& entry = At(op.op_id);
  if (entry.state != Entry::State::kFree) {
    if (entry.op != op.op || entry.offset != op.offset || entry.length != op.length) {
      return Verdict::kOther;
    }
    return entry.state == Entry::State::kRunning ? Verdict::kRunning : Verdict::kEnded;
  }
  if (op.op_id < highest_ && IsWriteType(op.op) && IsOvertaken(op)) return Verdict::kOvertaken;
  highest_ = std::max(highest_, op.op_id);
  entry = {Entry::State::kRunning, op.op, op.offset, op.length, {op.op_id, DataBytes(op)}};
  return Verdict::kNew;
}

// True if a later op that began shares a byte with it. One that was dropped or taken back before it
// ran stands in nobody's way.
bool OpWindow::IsOvertaken(const OpRequest& op) const {
  for (uint64_t id = op.op_id + 1; id <= highest_; ++id) {
    const Entry& later = At(id);
    if (later.state == Entry::State::kFree || later.result.reason == Reason::kCancelled) continue;
    if (op.offset < later.offset + later.length && later.offset < op.offset + op.length) {
      return true;
    }
  }
  return false;
}

// False, and nothing is forgotten, if something of it runs.
bool OpWindow::RaiseFloor(uint64_t floor) {
  const uint64_t last = std::min(floor, highest_);
  for (uint64_t id = floor_ + 1; id <= last; ++id) {
    if (At(id).state == Entry::State::kRunning) return false;
  }
  for (uint64_t id = floor_ + 1; id <= last; ++id) At(id) = Entry();
  floor_ = floor;
  return true;
}

void OpWindow::Forget(uint64_t op_id) {
  SLUICE_CHECK(op_id > floor_ && At(op_id).state == Entry::State::kRunning);
  At(op_id) = Entry();
}

void OpWindow::End(const OpResult& result) {
  Entry& entry = At(result.op_id);
  SLUICE_CHECK(result.op_id > floor_ && entry.state == Entry::State::kRunning &&
               entry.result.op_id == result.op_id);
  entry.state = Entry::State::kEnded;
  entry.result = result;
}

void OpWindow::Acknowledge(uint64_t op_id) {
  const uint64_t through = std::min(op_id, highest_);
  if (through > floor_) RaiseFloor(through);
}

uint64_t OpWindow::completed_through() const {
  uint64_t through = floor_;
  while (through < highest_ && At(through + 1).state == Entry::State::kEnded) ++through;
  return through;
}

std::vector<OpResult> OpWindow::Ended() const {
  std::vector<OpResult> ended;
  for (uint64_t id = floor_ + 1; id <= highest_; ++id) {
    if (At(id).state == Entry::State::kEnded) ended.push_back(At(id).result);
  }
  return ended;
}

}  // namespace sluice::rpc
