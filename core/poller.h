// SPDX-License-Identifier: Apache-2.0
// Where a reactor waits: the seam between the loop and the kernel. RingPoller (core/ring.h) is the
// real one.
#pragma once

#include <boost/intrusive/list.hpp>
#include <cstddef>
#include <cstdint>

namespace sluice {

// An operation under way outside. Its memory is the starter's and stays until `done` has run. The
// reactor lists completions first and calls `done` later, on its own thread, so that `done` may
// start new ones.
struct RingOp {
  boost::intrusive::list_member_hook<> ready;
  void (*done)(RingOp& op) noexcept = nullptr;
  void* context = nullptr;  // the starter's
  int32_t result = 0;       // as the system call's: >= 0 or a negative errno
  uint32_t cqe_flags = 0;   // IORING_CQE_F_*
};
using ReadyList = boost::intrusive::list<
    RingOp, boost::intrusive::member_hook<RingOp, decltype(RingOp::ready), &RingOp::ready>,
    boost::intrusive::constant_time_size<false>>;

inline constexpr uint64_t kForever = ~uint64_t{0};

class Poller {
 public:
  virtual ~Poller() = default;

  // Called once by the reactor, on the thread that will call Poll().
  virtual void Start() noexcept = 0;

  // Told once, after Start(), of memory that operations will name most often: it may be pinned for
  // them. Whole pages; stays as long as the poller. `sharers`: how many pollers of the process are
  // told of as much. The same thread.
  virtual void Favour(char*, size_t, uint16_t /*sharers*/) noexcept {}

  // Called once by a reactor that has stopped for good, on its thread: lets go of what the kernel
  // would give back only some time after the process has ended.
  virtual void Finish() noexcept {}

  // Submits what was prepared, waits at most `timeout_ns` (0: not at all) for a completion or a
  // Wake(), and appends what is complete to `ready`. The reactor's thread.
  virtual void Poll(uint64_t timeout_ns, ReadyList& ready) noexcept = 0;

  // Ends a wait that is under way or comes next. Any thread.
  virtual void Wake() noexcept = 0;
};

// For tests: never waits; completions are those that the test pushes with Complete().
class ManualPoller final : public Poller {
 public:
  void Start() noexcept override {}
  void Poll(uint64_t, ReadyList& ready) noexcept override { ready.splice(ready.end(), ready_); }
  void Wake() noexcept override {}
  void Complete(RingOp& op, int32_t result) noexcept {
    op.result = result;
    ready_.push_back(op);
  }

 private:
  ReadyList ready_;
};

}  // namespace sluice
