// SPDX-License-Identifier: Apache-2.0
// A disk on a regular file or a block device, by io_uring. O_DIRECT unless the page cache is asked
// for or nothing else is possible (storage/medium_probe.h); nobody else's while it is open
// (storage/exclusive_file.h).
//
// On tmpfs the ring would hand every read and write to a kernel thread of its own, which costs more
// than moving the bytes: the reactor moves them itself, at once. (A page that was swapped out is
// waited for.)
//
// What blocks without help of the ring -- the map of holes, BLKDISCARD -- runs on the worker and
// comes back by the reactor.
//
// FUA is RWF_DSYNC, on block devices, ext4, XFS and btrfs alone: FUSE is known to ignore it (see
// limits().native_fua). An operation that the kernel turns away for the moment (EAGAIN, EINTR) is
// started again a bounded number of times; one whose failure may be the only word of a lost write
// -- a flush, FUA through the page cache -- never is.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "core/ring.h"
#include "core/stats.h"
#include "core/worker.h"
#include "storage/exclusive_file.h"
#include "storage/medium.h"
#include "storage/medium_probe.h"

namespace sluice {

class Reactor;

struct FileOptions {
  std::string path;
  bool read_only = false;
  bool buffered = false;      // through the page cache
  uint64_t create_bytes = 0;  // ExclusiveFile::Options, and the next one
  bool no_links = false;
  uint32_t depth = 0;  // 0: the device's
};

class FileMedium final : public Medium {
 public:
  // Control path; blocks. Errors name the path. `worker` outlives the medium.
  static absl::StatusOr<std::unique_ptr<FileMedium>> Open(const FileOptions& options,
                                                          Worker& worker);
  // REQUIRES: nothing is under way; the reactor that it is attached to still exists. The file is
  // closed when that reactor has turned once more, or is gone.
  ~FileMedium() override;

  const MediumLimits& limits() const noexcept override { return facts_.limits; }
  // REQUIRES: the reactor's poller is a RingPoller.
  void Attach(uint16_t reactor) noexcept override;
  void Detach() noexcept override;
  Started Start(MediumIo& io) noexcept override;
  // Block devices cannot tell: all of one is data. One answer has at most 4096 extents.
  void QueryExtents(ExtentQuery& query) noexcept override;
  int64_t FindSize() noexcept override;
  void SetSize(uint64_t size) noexcept override { facts_.limits.size = size; }

  const FileFacts& facts() const { return facts_; }
  uint64_t retries() const { return retries_.value(); }  // any thread

 private:
  FileMedium(ExclusiveFile file, FileFacts facts, Worker& worker)
      : file_(std::move(file)), target_(file_.fd()), facts_(std::move(facts)), worker_(worker) {}

  void Ended(MediumIo& io, int32_t result) noexcept;
  Started Issue(MediumIo& io) noexcept;
  Started Move(MediumIo& io) noexcept;
  Started IssueEffect(MediumIo& io, Effect effect) noexcept;
  Effect EffectOf(const MediumIo& io) const noexcept;
  bool MayRetry(const MediumIo& io, int32_t result) const noexcept;
  void Discard(MediumIo& io) noexcept;

  ExclusiveFile file_;
  RingFile target_;  // the same, as the ring knows it
  FileFacts facts_;
  Worker& worker_;
  Reactor* reactor_ = nullptr;
  RingPoller* ring_ = nullptr;
  uint32_t refused_ = 0;  // effects that the kernel turned out not to know, a bit each
  Counter retries_;
};

}  // namespace sluice
