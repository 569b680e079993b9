// SPDX-License-Identifier: Apache-2.0
// io_uring as we use it: one ring a reactor, prepared operations submitted together with the next
// wait. This header alone includes liburing. Everything but Wake() belongs to the reactor's thread.
#pragma once

#include <fcntl.h>
#include <liburing.h>
#include <sys/socket.h>

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "core/bio.h"
#include "core/poller.h"
#include "core/stats.h"

namespace sluice {

class RingPoller final : public Poller {
 public:
  // Any thread; the ring is enabled by Start(). No io_uring (ENOSYS, EPERM) is an error that names
  // the cure.
  static absl::StatusOr<std::unique_ptr<RingPoller>> Create();
  ~RingPoller() override;
  RingPoller(const RingPoller&) = delete;
  RingPoller& operator=(const RingPoller&) = delete;

  void Start() noexcept override;
  void Poll(uint64_t timeout_ns, ReadyList& ready) noexcept override;
  void Wake() noexcept override;

  // Each prepares one operation; `op` and all memory named stay untouched until op.done has run.
  void Readv(RingOp& op, int fd, const Segment* segs, uint32_t count, uint64_t offset) noexcept;
  void Writev(RingOp& op, int fd, const Segment* segs, uint32_t count, uint64_t offset,
              int rw_flags) noexcept;  // rw_flags: RWF_DSYNC or 0
  void Fdatasync(RingOp& op, int fd) noexcept;
  void Fallocate(RingOp& op, int fd, int mode, uint64_t offset, uint64_t length) noexcept;
  void Fadvise(RingOp& op, int fd, uint64_t offset, uint32_t length, int advice) noexcept;
  void Recvmsg(RingOp& op, int fd, msghdr* message, uint32_t flags) noexcept;
  void Sendmsg(RingOp& op, int fd, const msghdr* message, uint32_t flags) noexcept;
  void Accept(RingOp& op, int fd) noexcept;                   // SOCK_CLOEXEC | SOCK_NONBLOCK
  void PollFd(RingOp& op, int fd, uint32_t events) noexcept;  // one shot; result: revents
  // Asks the kernel to end `op` early; op.done runs as ever, with -ECANCELED if that worked.
  void CancelOp(RingOp& op) noexcept;

  uint64_t enters() const { return enters_.value(); }  // io_uring_enter calls; any thread
  uint64_t sqes() const { return sqes_.value(); }      // operations prepared; any thread

 private:
  RingPoller() = default;
  io_uring_sqe* Prepare(RingOp* op) noexcept;
  void ArmWake() noexcept;
  void Submit() noexcept;
  bool Reap(ReadyList& ready) noexcept;

  io_uring ring_{};
  bool initialised_ = false;
  int event_fd_ = -1;
  uint64_t event_count_ = 0;
  RingOp wake_;
  ReadyList early_;  // reaped to make room, for the next Poll()
  Counter enters_;
  Counter sqes_;
};

}  // namespace sluice
