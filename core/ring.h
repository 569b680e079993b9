// SPDX-License-Identifier: Apache-2.0
// io_uring as we use it: one ring a reactor, prepared operations submitted together with the next
// wait. This header alone includes liburing. Everything but Wake() belongs to the reactor's thread.
#pragma once

#include <fcntl.h>
#include <liburing.h>
#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "core/bio.h"
#include "core/poller.h"
#include "core/stats.h"

namespace sluice {

// What an operation is done to: a descriptor, or its registered place in one ring's table, which
// spares the kernel a look-up each time.
struct RingFile {
  RingFile(int descriptor) : fd(descriptor) {}  // NOLINT: a descriptor is one
  int fd;
  int slot = -1;  // < 0: none
};

// A receive from a socket. While the reactor looks for work instead of sleeping, the socket is
// asked directly: that costs one system call where the ring costs two, and the sender wakes nobody.
// Before the reactor sleeps, when an enter is due for something else, after kDirectTries, or among
// too many others, it becomes an operation of the ring. It is one or the other, never both.
struct ReceiveOp : RingOp {
  int fd = -1;
  msghdr message{};
  uint8_t tries = 0;    // looks at the socket that found nothing
  bool direct = false;  // not in the ring yet
};

class RingPoller final : public Poller {
 public:
  // Any thread; the ring is enabled by Start(). No io_uring (ENOSYS, EPERM) is an error that names
  // the cure.
  static absl::StatusOr<std::unique_ptr<RingPoller>> Create();
  ~RingPoller() override;
  RingPoller(const RingPoller&) = delete;
  RingPoller& operator=(const RingPoller&) = delete;

  void Start() noexcept override;
  // Registers the memory, or so much of its beginning as is our part of RLIMIT_MEMLOCK; data
  // operations of one segment inside it are fixed-buffer ones. A refusal costs speed alone, and one
  // warning a process.
  void Favour(char* base, size_t bytes, uint16_t sharers) noexcept override;
  // Empties the file table, or its files would be in use until the kernel has buried the ring:
  // a file system could not be unmounted by who saw the process end.
  void Finish() noexcept override;
  size_t fixed_bytes() const { return fixed_bytes_; }
  void Poll(uint64_t timeout_ns, ReadyList& ready) noexcept override;
  void Wake() noexcept override;

  // Gives an open file a place in the ring's table; without one when the table is full or the
  // kernel has none. The kernel holds the file until RemoveFile(), whoever closes `fd` before.
  RingFile AddFile(int fd) noexcept;
  // REQUIRES: no operation on it is prepared or under way.
  void RemoveFile(RingFile& file) noexcept;

  // Each prepares one operation; `op` and all memory named stay untouched until op.done has run.
  // What goes to a device is submitted a few at a time (kDeviceBatch), for it to begin early.
  void Readv(RingOp& op, RingFile file, const Segment* segs, uint32_t count,
             uint64_t offset) noexcept;
  void Writev(RingOp& op, RingFile file, const Segment* segs, uint32_t count, uint64_t offset,
              int rw_flags) noexcept;  // rw_flags: RWF_DSYNC or 0
  void Fdatasync(RingOp& op, RingFile file) noexcept;
  void Fallocate(RingOp& op, RingFile file, int mode, uint64_t offset, uint64_t length) noexcept;
  void Fadvise(RingOp& op, RingFile file, uint64_t offset, uint32_t length, int advice) noexcept;
  // The result is as recvmsg(2)'s; `to` has 1 to IOV_MAX entries.
  void Receive(ReceiveOp& op, int fd, const Segment* to, size_t count) noexcept;
  void Sendmsg(RingOp& op, int fd, const msghdr* message, uint32_t flags) noexcept;
  void Accept(RingOp& op, int fd) noexcept;                   // SOCK_CLOEXEC | SOCK_NONBLOCK
  void PollFd(RingOp& op, int fd, uint32_t events) noexcept;  // one shot; result: revents
  // Asks the kernel to end `op` early; op.done runs as ever, with -ECANCELED if that worked.
  void CancelOp(RingOp& op) noexcept;
  void CancelReceive(ReceiveOp& op) noexcept;

  uint64_t enters() const { return enters_.value(); }  // io_uring_enter calls; any thread
  uint64_t sqes() const { return sqes_.value(); }      // operations prepared; any thread

 private:
  RingPoller() = default;
  io_uring_sqe* Prepare(RingOp* op) noexcept;
  static void Aim(io_uring_sqe* sqe, const RingFile& file) noexcept;
  bool IsFixed(const Segment& segment) const noexcept;
  void PreparedForDevice() noexcept;
  void ArmWake() noexcept;
  void Submit() noexcept;
  void SubmitOnly() noexcept;
  bool Reap(ReadyList& ready) noexcept;
  void TryReceives(ReadyList& ready) noexcept;
  void LeaveDirect(ReceiveOp& op) noexcept;
  void ArmReceives() noexcept;
  void ArmReceive(ReceiveOp& op) noexcept;

  static constexpr size_t kDirectMax = 8;      // sockets that are asked directly
  static constexpr uint8_t kDirectTries = 32;  // times that each is asked in vain

  io_uring ring_{};
  bool initialised_ = false;
  int event_fd_ = -1;
  uint64_t event_count_ = 0;
  RingOp wake_;
  char* fixed_base_ = nullptr;  // registered as buffer 0
  size_t fixed_bytes_ = 0;
  std::vector<int> free_slots_;  // of the file table; the last is taken first
  bool has_file_table_ = false;
  unsigned device_ops_ = 0;  // prepared since the last submission
  ReadyList direct_;         // ReceiveOps that are not in the ring
  size_t direct_count_ = 0;
  ReadyList early_;         // ended before the next Poll(): reaped to make room, or cancelled
  bool has_early_ = false;  // that, or a wake, for which the next Poll() does not wait
  Counter enters_;
  Counter sqes_;
};

}  // namespace sluice
