// SPDX-License-Identifier: Apache-2.0
#include "core/ring.h"

#include <linux/capability.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/check.h"
#include "core/log.h"
#include "core/units.h"

namespace sluice {
namespace {

constexpr unsigned kSqEntries = 1024;
constexpr unsigned kCqEntries = 8192;
constexpr int kFileSlots = 256;
constexpr size_t kFixedMin = 256 * 1024;  // less is not worth registering, bytes
constexpr size_t kHugePage = 2 * 1024 * 1024;
constexpr uint64_t kLimitParts = 4;  // one of them is for us

// A device starts when it is told: operations of one turn go to it so many at a time, so that it
// works while the rest is prepared. Measured with 4 KiB reads 32 deep on virtio-blk: +13 % requests
// against one submission a turn; 1 or 2 are no better and cost more CPU.
constexpr unsigned kDeviceBatch = 4;

// What the kernel did not take now (a signal, no memory, completions overflow) stays prepared and
// goes with the next enter.
void CheckEntered(int result) {
  SLUICE_CHECK(result >= 0 || result == -ETIME || result == -EINTR || result == -EAGAIN ||
               result == -EBUSY);
}

absl::Status NoRing(int error) {
  if (error == ENOSYS || error == EPERM || error == EACCES) {
    return absl::UnavailableError(
        absl::StrCat("io_uring is refused here (", strerror(error),
                     "). In a container, run with a seccomp profile that allows io_uring_setup, "
                     "io_uring_enter and io_uring_register, as Sluice's deploy/seccomp.json does "
                     "(--security-opt seccomp=FILE); elsewhere, check `sysctl "
                     "kernel.io_uring_disabled` (0 allows it; Linux 5.11 or newer is needed)"));
  }
  return absl::UnavailableError(absl::StrCat("io_uring_setup: ", strerror(error)));
}

// What one of `sharers` rings may lock. RLIMIT_MEMLOCK counts all processes of a user, and newer
// kernels count rings too, so most of it is left to others.
size_t FixedShare(uint16_t sharers) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {};
  if (syscall(SYS_capget, &header, sets) == 0 && (sets[0].effective & 1U << CAP_IPC_LOCK) != 0) {
    return ~size_t{0};  // the limit is not for us
  }
  rlimit limit{};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  return std::bit_floor(std::max<size_t>(limit.rlim_cur / kLimitParts / sharers, kFixedMin));
}

}  // namespace

absl::StatusOr<std::unique_ptr<RingPoller>> RingPoller::Create() {
  // Best first; an older kernel refuses flags that it does not know with EINVAL.
  static constexpr unsigned kModes[] = {
      IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
          IORING_SETUP_SUBMIT_ALL,
      IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
      0,
  };
  std::unique_ptr<RingPoller> poller(new RingPoller);
  int error = 0;
  for (unsigned mode : kModes) {
    io_uring_params params{};
    params.flags = mode | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE;
    params.cq_entries = kCqEntries;
    error = -io_uring_queue_init_params(kSqEntries, &poller->ring_, &params);
    if (error == 0) {
      poller->initialised_ = true;
      if ((params.features & IORING_FEAT_EXT_ARG) == 0) return NoRing(ENOSYS);
      break;
    }
    if (error != EINVAL) break;
  }
  if (error != 0) return NoRing(error);
  poller->event_fd_ = eventfd(0, EFD_CLOEXEC);
  if (poller->event_fd_ < 0)
    return absl::UnavailableError(absl::StrCat("eventfd: ", strerror(errno)));
  return poller;
}

RingPoller::~RingPoller() {
  if (initialised_) io_uring_queue_exit(&ring_);
  if (event_fd_ >= 0) close(event_fd_);
}

void RingPoller::Start() noexcept {
  // io_uring_enable_rings(), which the shared liburing 2.3 does not export.
  SLUICE_CHECK(io_uring_register(ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0) == 0);
  wake_.done = [](RingOp&) noexcept {};
  ArmWake();
}

// Pages that were touched for nothing go back.
void RingPoller::Favour(char* base, size_t bytes, uint16_t sharers) noexcept {
  bytes = std::min(bytes, FixedShare(sharers));
  int result = -ENOMEM;
  for (; bytes >= kFixedMin && result == -ENOMEM; bytes /= 2) {
    // A huge page is charged whole.
    madvise(base, bytes, bytes >= kHugePage ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    const iovec memory{base, bytes};
    result = io_uring_register_buffers(&ring_, &memory, 1);
    if (result == 0) {
      fixed_base_ = base;
      fixed_bytes_ = bytes;
      return;
    }
    madvise(base, bytes, MADV_DONTNEED);
  }
  static std::atomic<bool> warned{false};
  if (warned.exchange(true)) return;
  Log(LogLevel::kWarning,
      absl::StrCat("registered buffers are refused (", strerror(-result),
                   "): disks cost a little more CPU. A larger RLIMIT_MEMLOCK helps "
                   "(systemd: LimitMEMLOCK=)"));
}

// Slot by slot: before Linux 6.13 dropping the whole table waits until every operation on one of
// its files has ended, and one on a hung drive never does.
void RingPoller::Finish() noexcept {
  if (!has_file_table_) return;
  std::array<int, kFileSlots> none;
  none.fill(-1);
  io_uring_register_files_update(&ring_, 0, none.data(), none.size());
  free_slots_.clear();
}

RingFile RingPoller::AddFile(int fd) noexcept {
  RingFile file(fd);
  if (!has_file_table_) {
    has_file_table_ = true;
    if (io_uring_register_files_sparse(&ring_, kFileSlots) == 0) {
      for (int slot = kFileSlots - 1; slot >= 0; --slot) free_slots_.push_back(slot);
    }
  }
  if (free_slots_.empty()) return file;
  if (io_uring_register_files_update(&ring_, static_cast<unsigned>(free_slots_.back()), &fd, 1) ==
      1) {
    file.slot = free_slots_.back();
    free_slots_.pop_back();
  }
  return file;
}

void RingPoller::RemoveFile(RingFile& file) noexcept {
  if (file.slot < 0) return;
  const int none = -1;
  SLUICE_CHECK(io_uring_register_files_update(&ring_, static_cast<unsigned>(file.slot), &none, 1) ==
               1);
  free_slots_.push_back(file.slot);
  file.slot = -1;
}

void RingPoller::ArmWake() noexcept {
  io_uring_prep_read(Prepare(&wake_), event_fd_, &event_count_, sizeof(event_count_), 0);
}

void RingPoller::Wake() noexcept {
  const uint64_t one = 1;
  // Fails only when the counter is full, and then the reader is awake anyhow.
  [[maybe_unused]] const ssize_t written = write(event_fd_, &one, sizeof(one));
}

bool RingPoller::Reap(ReadyList& ready) noexcept {
  io_uring_cqe* cqe = nullptr;
  unsigned head = 0;
  unsigned count = 0;
  bool woken = false;
  io_uring_for_each_cqe(&ring_, head, cqe) {
    ++count;
    auto* op = static_cast<RingOp*>(io_uring_cqe_get_data(cqe));
    if (op == nullptr) continue;  // a cancel's own completion
    op->result = cqe->res;
    op->cqe_flags = cqe->flags;
    if (op == &wake_) {
      woken = true;
    } else {
      ready.push_back(*op);
    }
  }
  io_uring_cq_advance(&ring_, count);
  if (woken) ArmWake();
  return count > 0;
}

void RingPoller::SubmitOnly() noexcept {
  device_ops_ = 0;
  enters_.Add(1);
  CheckEntered(io_uring_submit(&ring_));
}

void RingPoller::Submit() noexcept {
  device_ops_ = 0;
  enters_.Add(1);
  CheckEntered(io_uring_submit_and_get_events(&ring_));
}

void RingPoller::Poll(uint64_t timeout_ns, ReadyList& ready) noexcept {
  if (timeout_ns != 0 || direct_count_ > kDirectMax) ArmReceives();
  if (std::exchange(has_early_, false)) {
    ready.splice(ready.end(), early_);
    timeout_ns = 0;
  }
  if (timeout_ns == 0) {
    TryReceives(ready);
    if (io_uring_sq_ready(&ring_) > 0) ArmReceives();  // an enter is due: they go along
    // Both modes with task work of their own set the flag when there is some; the plain mode needs
    // none, for its task work interrupts the thread.
    const unsigned prepared = io_uring_sq_ready(&ring_);
    const bool pending = (__atomic_load_n(ring_.sq.kflags, __ATOMIC_RELAXED) &
                          (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
    if (prepared > 0 || pending) Submit();
    Reap(ready);
    return;
  }
  if (io_uring_cq_ready(&ring_) > 0 && io_uring_sq_ready(&ring_) == 0) {
    Reap(ready);
    return;
  }
  __kernel_timespec limit{};
  limit.tv_sec = static_cast<int64_t>(timeout_ns / kSecond);
  limit.tv_nsec = static_cast<long long>(timeout_ns % kSecond);
  io_uring_cqe* cqe = nullptr;
  device_ops_ = 0;
  enters_.Add(1);
  CheckEntered(io_uring_submit_and_wait_timeout(
      &ring_, &cqe, 1, timeout_ns == kForever ? nullptr : &limit, nullptr));
  Reap(ready);
}

io_uring_sqe* RingPoller::Prepare(RingOp* op) noexcept {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  while (sqe == nullptr) {
    Submit();
    // Some kernels take nothing new while completions overflow (EBUSY).
    has_early_ |= Reap(early_);
    sqe = io_uring_get_sqe(&ring_);
  }
  sqes_.Add(1);
  io_uring_sqe_set_data(sqe, op);  // the io_uring_prep_* that follows leaves it alone
  return sqe;
}

void RingPoller::Aim(io_uring_sqe* sqe, const RingFile& file) noexcept {
  if (file.slot < 0) return;
  sqe->fd = file.slot;
  sqe->flags |= IOSQE_FIXED_FILE;
}

bool RingPoller::IsFixed(const Segment& segment) const noexcept {
  const auto at = reinterpret_cast<uintptr_t>(segment.iov_base);
  const auto base = reinterpret_cast<uintptr_t>(fixed_base_);
  return at >= base && at - base < fixed_bytes_ && segment.iov_len <= fixed_bytes_ - (at - base);
}

void RingPoller::PreparedForDevice() noexcept {
  if (++device_ops_ == kDeviceBatch) SubmitOnly();
}

void RingPoller::Readv(RingOp& op, RingFile file, const Segment* segs, uint32_t count,
                       uint64_t offset) noexcept {
  io_uring_sqe* sqe = Prepare(&op);
  if (count != 1) {
    io_uring_prep_readv(sqe, file.fd, segs, count, offset);
  } else {
    io_uring_prep_read(sqe, file.fd, segs->iov_base, static_cast<unsigned>(segs->iov_len), offset);
    if (IsFixed(*segs)) sqe->opcode = IORING_OP_READ_FIXED;
  }
  Aim(sqe, file);
  PreparedForDevice();
}

void RingPoller::Writev(RingOp& op, RingFile file, const Segment* segs, uint32_t count,
                        uint64_t offset, int rw_flags) noexcept {
  io_uring_sqe* sqe = Prepare(&op);
  if (count != 1) {
    io_uring_prep_writev(sqe, file.fd, segs, count, offset);
  } else {
    io_uring_prep_write(sqe, file.fd, segs->iov_base, static_cast<unsigned>(segs->iov_len), offset);
    if (IsFixed(*segs)) sqe->opcode = IORING_OP_WRITE_FIXED;
  }
  sqe->rw_flags = rw_flags;
  Aim(sqe, file);
  PreparedForDevice();
}

void RingPoller::Fdatasync(RingOp& op, RingFile file) noexcept {
  io_uring_sqe* sqe = Prepare(&op);
  io_uring_prep_fsync(sqe, file.fd, IORING_FSYNC_DATASYNC);
  Aim(sqe, file);
}

void RingPoller::Fallocate(RingOp& op, RingFile file, int mode, uint64_t offset,
                           uint64_t length) noexcept {
  io_uring_sqe* sqe = Prepare(&op);
  io_uring_prep_fallocate(sqe, file.fd, mode, static_cast<off_t>(offset),
                          static_cast<off_t>(length));
  Aim(sqe, file);
}

void RingPoller::Fadvise(RingOp& op, RingFile file, uint64_t offset, uint32_t length,
                         int advice) noexcept {
  io_uring_sqe* sqe = Prepare(&op);
  io_uring_prep_fadvise(sqe, file.fd, offset, static_cast<off_t>(length), advice);
  Aim(sqe, file);
}

void RingPoller::Receive(ReceiveOp& op, int fd, const Segment* to, size_t count) noexcept {
  op.fd = fd;
  op.message.msg_iov = const_cast<Segment*>(to);
  op.message.msg_iovlen = count;
  op.tries = 0;
  op.direct = true;
  direct_.push_back(op);
  ++direct_count_;
}

void RingPoller::TryReceives(ReadyList& ready) noexcept {
  for (auto next = direct_.begin(); next != direct_.end();) {
    auto& op = static_cast<ReceiveOp&>(*next++);
    const Segment& first = op.message.msg_iov[0];
    const ssize_t got = op.message.msg_iovlen == 1
                            ? recv(op.fd, first.iov_base, first.iov_len, MSG_DONTWAIT)
                            : recvmsg(op.fd, &op.message, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
      if (++op.tries == kDirectTries) ArmReceive(op);
      continue;
    }
    op.result = got < 0 ? -errno : static_cast<int32_t>(got);
    op.cqe_flags = 0;
    LeaveDirect(op);
    ready.push_back(op);
  }
}

void RingPoller::LeaveDirect(ReceiveOp& op) noexcept {
  op.direct = false;
  direct_.erase(direct_.iterator_to(op));
  --direct_count_;
}

void RingPoller::ArmReceive(ReceiveOp& op) noexcept {
  LeaveDirect(op);
  const Segment& first = op.message.msg_iov[0];
  if (op.message.msg_iovlen == 1) {
    io_uring_prep_recv(Prepare(&op), op.fd, first.iov_base, first.iov_len, 0);
  } else {
    io_uring_prep_recvmsg(Prepare(&op), op.fd, &op.message, 0);
  }
}

void RingPoller::ArmReceives() noexcept {
  while (!direct_.empty()) ArmReceive(static_cast<ReceiveOp&>(direct_.front()));
}

void RingPoller::CancelReceive(ReceiveOp& op) noexcept {
  if (!op.direct) return CancelOp(op);
  LeaveDirect(op);
  op.result = -ECANCELED;
  op.cqe_flags = 0;
  early_.push_back(op);
  has_early_ = true;
}

void RingPoller::Sendmsg(RingOp& op, int fd, const msghdr* message, uint32_t flags) noexcept {
  io_uring_prep_sendmsg(Prepare(&op), fd, message, flags);
}

void RingPoller::Accept(RingOp& op, int fd) noexcept {
  io_uring_prep_accept(Prepare(&op), fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

void RingPoller::PollFd(RingOp& op, int fd, uint32_t events) noexcept {
  io_uring_prep_poll_add(Prepare(&op), fd, events);
}

void RingPoller::CancelOp(RingOp& op) noexcept { io_uring_prep_cancel(Prepare(nullptr), &op, 0); }

}  // namespace sluice
