// SPDX-License-Identifier: Apache-2.0
// Registered files and memory, and what is left where the kernel refuses them.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "core/log.h"
#include "core/pool.h"
#include "core/ring.h"
#include "tests/core/ring_fixture.h"

namespace sluice {
namespace {

constexpr size_t kMemory = 2 * kMiB;

class RingFixed : public Ring {
 protected:
  Fd File(const std::string& text) {
    const int fd = memfd_create("ring", MFD_CLOEXEC);
    EXPECT_EQ(write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    return Fd(fd);
  }

  // What the first `size` bytes of a file are when read into `at`.
  std::string Read(RingFile file, char* at, size_t size) {
    const Segment segment = {at, size};
    TestOp read;
    ring_->Readv(read, file, &segment, 1, 0);
    EXPECT_EQ(Result(read), static_cast<int32_t>(size));
    return std::string(at, size);
  }

  std::string Read(RingFile file, size_t size) {
    char bytes[64] = {};
    return Read(file, bytes, size);
  }

  // Other pages in the place of those that the kernel pinned: only what goes by address is seen
  // there.
  static void Remap(char* at, size_t bytes) {
    ASSERT_EQ(
        mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
        at);
  }
};

TEST_F(RingFixed, AnAddedFileIsUsedByItsSlotUntilItIsRemoved) {
  RingFile file(-1);
  {
    const Fd opened = File("kept by the ring");
    file = ring_->AddFile(opened);
  }
  ASSERT_GE(file.slot, 0);
  EXPECT_EQ(Read(file, 4), "kept") << "the descriptor is closed";
  std::string text = "held";
  const Segment segment = {text.data(), text.size()};
  TestOp write;
  ring_->Writev(write, file, &segment, 1, 0, RWF_DSYNC);
  EXPECT_EQ(Result(write), 4);
  TestOp sync;
  ring_->Fdatasync(sync, file);
  EXPECT_EQ(Result(sync), 0);
  TestOp punch;
  ring_->Fallocate(punch, file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8, 8);
  EXPECT_EQ(Result(punch), 0);
  TestOp advise;
  ring_->Fadvise(advise, file, 0, 4, POSIX_FADV_WILLNEED);
  EXPECT_EQ(Result(advise), 0);
  EXPECT_EQ(Read(file, 16), "held by " + std::string(8, '\0'));

  const RingFile stale = file;
  ring_->RemoveFile(file);
  TestOp late;
  ring_->Readv(late, stale, &segment, 1, 0);
  EXPECT_EQ(Result(late), -EBADF);
}

TEST_F(RingFixed, ASlotServesTheNextFileWhenItsFileIsGone) {
  const Fd first = File("first");
  const Fd second = File("second");
  RingFile file = ring_->AddFile(first);
  const int slot = file.slot;
  ASSERT_GE(slot, 0);
  ring_->RemoveFile(file);
  EXPECT_LT(file.slot, 0);
  EXPECT_EQ(Read(file, 5), "first") << "by its descriptor";
  RingFile next = ring_->AddFile(second);
  EXPECT_EQ(next.slot, slot);
  EXPECT_EQ(Read(next, 6), "second");
}

// A pipe tells by its end when the last holder of its other end is gone.
TEST_F(RingFixed, AFinishedRingHoldsNoFile) {
  int fds[2];
  ASSERT_EQ(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
  const Fd out(fds[0]);
  ASSERT_GE(ring_->AddFile(fds[1]).slot, 0);
  close(fds[1]);
  char byte;
  EXPECT_EQ(read(out, &byte, 1), -1) << "the ring holds the other end";
  ring_->Finish();
  EXPECT_EQ(read(out, &byte, 1), 0);
  const Fd file = File("later");
  EXPECT_EQ(Read(ring_->AddFile(file), 5), "later");
}

TEST_F(RingFixed, WhenTheTableIsFullAFileIsUsedByItsDescriptor) {
  const Fd file = File("plain");
  std::vector<RingFile> added;
  do {
    added.push_back(ring_->AddFile(file));
    ASSERT_LT(added.size(), 10'000u);
  } while (added.back().slot >= 0);
  EXPECT_GT(added.size(), 100u);
  EXPECT_EQ(Read(added.back(), 5), "plain");
  EXPECT_EQ(Read(added.front(), 5), "plain");
}

TEST_F(RingFixed, OneSegmentInsideFavouredMemoryGoesByThePinnedPages) {
  const Fd file = File("pinned");
  const Arena arena(2 * kMemory, kMemory);
  ring_->Favour(arena.base(), kMemory, 1);
  ASSERT_EQ(ring_->fixed_bytes(), kMemory);
  EXPECT_EQ(Read(file, arena.base(), 6), "pinned");
  EXPECT_EQ(Read(file, arena.base() + kMemory - 6, 6), "pinned");

  std::memcpy(arena.base() + 4096, "through", 7);
  const Segment from = {arena.base() + 4096, 7};
  Remap(arena.base(), kMemory);
  TestOp write;
  ring_->Writev(write, file, &from, 1, 0, 0);
  EXPECT_EQ(Result(write), 7);
  EXPECT_EQ(Read(file, 7), "through");
  EXPECT_EQ(Read(file, arena.base(), 7), std::string(7, '\0')) << "went to the pages that were";
}

TEST_F(RingFixed, MemoryThatIsNotWhollyFavouredGoesByItsAddress) {
  const Fd file = File("by address");
  const Arena arena(2 * kMemory, kMemory);
  ring_->Favour(arena.base(), kMemory, 1);
  ASSERT_EQ(ring_->fixed_bytes(), kMemory);
  Remap(arena.base(), kMemory);
  EXPECT_EQ(Read(file, arena.base() + kMemory - 4, 10), "by address") << "across its end";
  EXPECT_EQ(Read(file, arena.base() + kMemory, 10), "by address") << "behind it";
  char elsewhere[10];
  EXPECT_EQ(Read(file, elsewhere, 10), "by address") << "another reactor's, or nobody's";
  const Segment two[2] = {{arena.base(), 3}, {arena.base() + 8, 7}};
  TestOp read;
  ring_->Readv(read, file, two, 2, 0);
  EXPECT_EQ(Result(read), 10);
  EXPECT_EQ(std::string(arena.base(), 3) + std::string(arena.base() + 8, 7), "by address");
}

TEST_F(RingFixed, ADeviceIsGivenItsOperationsAFewAtATime) {
  const Fd file = File("batch");
  char byte;
  const Segment in = {&byte, 1};
  std::deque<TestOp> ops(32);
  const uint64_t enters = ring_->enters();
  ring_->Readv(ops[0], file, &in, 1, 0);
  EXPECT_EQ(ring_->enters(), enters) << "one alone waits for the end of the turn";
  for (size_t i = 1; i < ops.size(); ++i) ring_->Readv(ops[i], file, &in, 1, 0);
  EXPECT_GE(ring_->enters(), enters + 4);
  EXPECT_LE(ring_->enters(), enters + 16);
  for (TestOp& op : ops) EXPECT_EQ(Result(op), 1);
}

// Runs `test` in a child whom RLIMIT_MEMLOCK binds; true if it returned true.
bool InAChildWithoutPrivileges(const std::function<bool()>& test) {
  // A user who is charged for nothing: what a dead ring had locked comes back some time later.
  static uid_t users = 0;
  const uid_t user = 20'000 + (static_cast<uid_t>(getpid()) * 8 + users++) % 40'000;
  const pid_t child = fork();
  if (child == 0) {
    if (geteuid() == 0 && setresuid(user, user, user) != 0) _exit(4);
    _exit(test() ? 0 : 1);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << status;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// A ring that was favoured with memory under a limit, and what it does with it.
struct Favoured {
  Favoured(uint16_t sharers, rlim_t limit_bytes) : ring(*RingPoller::Create()) {
    ring->Start();
    rlimit before{};
    getrlimit(RLIMIT_MEMLOCK, &before);
    const rlimit limit{limit_bytes, before.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
    ring->Favour(arena.base(), 8 * kMiB, sharers);
    setrlimit(RLIMIT_MEMLOCK, &before);
  }
  size_t fixed_bytes() const { return ring->fixed_bytes(); }
  bool Works() {
    const Fd fd(memfd_create("ring", MFD_CLOEXEC));
    std::memcpy(arena.base(), "works", 5);
    const Segment segment = {arena.base(), 5};
    TestOp op;
    ring->Writev(op, fd, &segment, 1, 0, 0);
    ReadyList ready;
    for (int i = 0; i < 100 && ready.empty(); ++i) ring->Poll(100 * kMillisecond, ready);
    ready.clear();
    char got[5] = {};
    return pread(fd, got, 5, 0) == 5 && std::string(got, 5) == "works" && op.result == 5;
  }
  Arena arena{8 * kMiB, 2 * kMiB};
  std::unique_ptr<RingPoller> ring;
};

TEST(RingMemlock, AQuarterOfTheLimitIsSharedByTheRings) {
  EXPECT_TRUE(InAChildWithoutPrivileges([] {
    Favoured one(2, 7 * kMiB);
    Favoured other(2, 7 * kMiB);
    return one.fixed_bytes() == 512 * kKiB && other.fixed_bytes() == 512 * kKiB && one.Works() &&
           other.Works();
  }));
}

TEST(RingMemlock, WhatOthersHaveLockedLeavesLess) {
  EXPECT_TRUE(InAChildWithoutPrivileges([] {
    const Arena theirs(3 * kMiB);
    const Segment memory = {theirs.base(), theirs.bytes()};
    io_uring other{};
    if (io_uring_queue_init(8, &other, 0) != 0) return false;
    if (io_uring_register_buffers(&other, &memory, 1) != 0) return false;
    Favoured one(1, 4 * kMiB);  // its part is 1 MiB, and 1 MiB at most is left, rings included
    Favoured late(1, 4 * kMiB);
    io_uring_queue_exit(&other);
    return one.fixed_bytes() > 0 && one.fixed_bytes() + late.fixed_bytes() <= kMiB && one.Works() &&
           late.Works();
  }));
}

TEST(RingMemlock, ARefusalCostsOneWarningAndNothingElse) {
  EXPECT_TRUE(InAChildWithoutPrivileges([] {
    static int warnings = 0;
    SetLogSink([](LogLevel level, absl::string_view line) {
      warnings += level == LogLevel::kWarning && absl::StrContains(line, "registered buffers");
    });
    Favoured one(1, 0);
    Favoured other(1, 0);
    return one.fixed_bytes() == 0 && other.fixed_bytes() == 0 && one.Works() && other.Works() &&
           warnings == 1;
  }));
}

}  // namespace
}  // namespace sluice
