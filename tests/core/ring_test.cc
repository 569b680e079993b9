// SPDX-License-Identifier: Apache-2.0
// Every operation on real files and sockets, and the poller's promises to the reactor.
#include "core/ring.h"

#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <deque>
#include <string>
#include <thread>
#include <vector>

#include "core/units.h"
#include "tests/core/ring_fixture.h"

namespace sluice {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

struct Socketpair {
  Socketpair() { EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0); }
  ~Socketpair() { close(fds[0]), close(fds[1]); }
  int fds[2];
};

TEST_F(Ring, WritesAndReadsVectorsAtAnOffset) {
  Fd file(memfd_create("ring", MFD_CLOEXEC));
  std::string a = "hello ";
  std::string b = "world";
  const Segment out[2] = {{a.data(), a.size()}, {b.data(), b.size()}};
  TestOp write;
  ring_->Writev(write, file, out, 2, 100, 0);
  EXPECT_EQ(Result(write), 11);
  TestOp sync;
  ring_->Fdatasync(sync, file);
  EXPECT_EQ(Result(sync), 0);
  char got[2][8] = {};
  const Segment in[2] = {{got[0], 4}, {got[1], 7}};
  TestOp read;
  ring_->Readv(read, file, in, 2, 100);
  EXPECT_EQ(Result(read), 11);
  EXPECT_EQ(std::string(got[0]) + got[1], "hello world");
  TestOp past;
  ring_->Readv(past, file, in, 2, 1 << 20);
  EXPECT_EQ(Result(past), 0) << "the end of the file";
}

TEST_F(Ring, WritesThroughAndReportsErrorsAsNegativeErrnos) {
  char path[] = "ring_test_XXXXXX";
  Fd file(mkstemp(path));
  unlink(path);
  std::string text = "durable";
  const Segment segment = {text.data(), text.size()};
  TestOp write;
  ring_->Writev(write, file, &segment, 1, 0, RWF_DSYNC);
  EXPECT_EQ(Result(write), 7);
  TestOp advise;
  ring_->Fadvise(advise, file, 0, 7, POSIX_FADV_WILLNEED);
  EXPECT_EQ(Result(advise), 0);
  TestOp bad;
  ring_->Readv(bad, -1, &segment, 1, 0);
  EXPECT_EQ(Result(bad), -EBADF);
}

TEST_F(Ring, FallocateGrowsAndPunches) {
  Fd file(memfd_create("ring", MFD_CLOEXEC));
  TestOp grow;
  ring_->Fallocate(grow, file, 0, 0, 65536);
  EXPECT_EQ(Result(grow), 0);
  struct stat before {};
  fstat(file, &before);
  EXPECT_EQ(before.st_size, 65536);
  TestOp punch;
  ring_->Fallocate(punch, file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 32768);
  EXPECT_EQ(Result(punch), 0);
  struct stat after {};
  fstat(file, &after);
  EXPECT_EQ(after.st_size, 65536);
  EXPECT_LT(after.st_blocks, before.st_blocks);
}

TEST_F(Ring, AcceptsReceivesAndSends) {
  Fd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;  // an abstract name that the kernel picks
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t)), 0);
  ASSERT_EQ(listen(listener, 1), 0);
  socklen_t size = sizeof(address);
  ASSERT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  TestOp accepted;
  ring_->Accept(accepted, listener);
  Poll(0);
  EXPECT_EQ(accepted.ended, 0);
  Fd client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(connect(client, reinterpret_cast<sockaddr*>(&address), size), 0);
  Fd server(Result(accepted));
  EXPECT_NE(fcntl(server, F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(fcntl(server, F_GETFD) & FD_CLOEXEC, 0);

  char got[8] = {};
  Segment in = {got, sizeof(got)};
  TestReceive receive;
  ring_->Receive(receive, server, &in, 1);
  Poll(0);
  EXPECT_EQ(receive.ended, 0) << "a receive waits, on a non-blocking socket too";
  ASSERT_EQ(write(client, "ping", 4), 4);
  EXPECT_EQ(Result(receive), 4);
  EXPECT_STREQ(got, "ping");

  std::string text = "pong";
  const Segment out = {text.data(), text.size()};
  msghdr answer{};
  answer.msg_iov = const_cast<Segment*>(&out);
  answer.msg_iovlen = 1;
  TestOp send;
  ring_->Sendmsg(send, server, &answer, MSG_NOSIGNAL);
  EXPECT_EQ(Result(send), 4);
  char back[8] = {};
  EXPECT_EQ(read(client, back, sizeof(back)), 4);
  EXPECT_STREQ(back, "pong");
}

// --- receives ---

struct Reader {
  explicit Reader(RingPoller& ring, int fd) : ring_(ring), fd_(fd) {}
  void Receive() {
    in_[0] = {bytes, 4};
    in_[1] = {bytes + 4, 4};
    ring_.Receive(op, fd_, in_, 2);
  }
  TestReceive op;
  char bytes[9] = {};

 private:
  RingPoller& ring_;
  int fd_;
  Segment in_[2];
};

TEST_F(Ring, ALookForWorkReceivesWithoutEnteringTheRing) {
  Socketpair pair;
  Reader reader(*ring_, pair.fds[0]);
  reader.Receive();
  const uint64_t enters = ring_->enters();
  const uint64_t sqes = ring_->sqes();
  Poll(0);
  EXPECT_EQ(reader.op.ended, 0);
  ASSERT_EQ(write(pair.fds[1], "request", 7), 7);
  Poll(0);
  ASSERT_EQ(reader.op.ended, 1);
  EXPECT_EQ(reader.op.result, 7);
  EXPECT_STREQ(reader.bytes, "request");
  EXPECT_EQ(ring_->enters(), enters);
  EXPECT_EQ(ring_->sqes(), sqes);
}

TEST_F(Ring, AWaitTakesReceivesAlongInItsOneEnter) {
  Socketpair pair;
  Reader reader(*ring_, pair.fds[0]);
  reader.Receive();
  const uint64_t enters = ring_->enters();
  ASSERT_EQ(write(pair.fds[1], "request", 7), 7);
  Poll(kForever);
  EXPECT_EQ(reader.op.ended, 1);
  EXPECT_EQ(reader.op.result, 7);
  EXPECT_STREQ(reader.bytes, "request");
  EXPECT_EQ(ring_->enters(), enters + 1);
}

TEST_F(Ring, AnEnterThatIsDueTakesReceivesAlong) {
  Socketpair pair;
  Fd zero(open("/dev/zero", O_RDONLY | O_CLOEXEC));
  char byte;
  const Segment in = {&byte, 1};
  Reader reader(*ring_, pair.fds[0]);
  TestOp read;
  reader.Receive();
  ring_->Readv(read, zero, &in, 1, 0);
  const uint64_t enters = ring_->enters();
  Poll(0);
  EXPECT_EQ(ring_->enters(), enters + 1);
  for (int i = 0; i < 1000; ++i) Poll(0);
  EXPECT_LE(ring_->enters(), enters + 2) << "the read's completion at most, none for the receive";
  ASSERT_EQ(write(pair.fds[1], "request", 7), 7);
  EXPECT_EQ(Result(reader.op), 7);
}

TEST_F(Ring, ASocketThatStaysSilentIsLeftToTheRing) {
  Socketpair pair;
  Reader reader(*ring_, pair.fds[0]);
  reader.Receive();
  const uint64_t sqes = ring_->sqes();
  for (int i = 0; i < 1000; ++i) Poll(0);
  EXPECT_EQ(ring_->sqes(), sqes + 1);
  const uint64_t enters = ring_->enters();
  for (int i = 0; i < 1000; ++i) Poll(0);
  EXPECT_EQ(ring_->enters(), enters) << "and looks cost nothing then";
  ASSERT_EQ(write(pair.fds[1], "request", 7), 7);
  EXPECT_EQ(Result(reader.op), 7);
  EXPECT_STREQ(reader.bytes, "request");
}

TEST_F(Ring, ManySocketsAreLeftToTheRingTogether) {
  std::deque<Socketpair> pairs(20);
  std::deque<Reader> readers;
  for (Socketpair& pair : pairs) readers.emplace_back(*ring_, pair.fds[0]).Receive();
  const uint64_t enters = ring_->enters();
  const uint64_t sqes = ring_->sqes();
  Poll(0);
  EXPECT_EQ(ring_->enters(), enters + 1);
  EXPECT_EQ(ring_->sqes(), sqes + 20);
  for (Socketpair& pair : pairs) ASSERT_EQ(write(pair.fds[1], "request", 7), 7);
  for (Reader& reader : readers) EXPECT_EQ(Result(reader.op), 7);
}

// Arms so many receives that the queue must be emptied among them: some are over before the wait.
TEST_F(Ring, AWaitEndsForWhatMakingRoomForItsReceivesHasReaped) {
  Socketpair closed;
  Socketpair silent;
  ASSERT_EQ(shutdown(closed.fds[1], SHUT_WR), 0);
  std::deque<Reader> over;
  std::deque<Reader> waiting;
  for (int i = 0; i < 1024; ++i) over.emplace_back(*ring_, closed.fds[0]).Receive();
  for (int i = 0; i < 20; ++i) waiting.emplace_back(*ring_, silent.fds[0]).Receive();
  const auto begin = steady_clock::now();
  Poll(5 * kSecond);
  EXPECT_LT(steady_clock::now() - begin, milliseconds(2500));
  for (Reader& reader : over) EXPECT_EQ(Result(reader.op), 0);
  for (Reader& reader : waiting) EXPECT_EQ(reader.op.ended, 0);
  ASSERT_EQ(shutdown(silent.fds[1], SHUT_WR), 0);
  for (Reader& reader : waiting) EXPECT_EQ(Result(reader.op), 0);
}

TEST_F(Ring, AWaitEndsForAWakeThatMakingRoomForItsReceivesHasReaped) {
  Socketpair silent;
  std::deque<Reader> waiting;
  for (int i = 0; i < 1050; ++i) waiting.emplace_back(*ring_, silent.fds[0]).Receive();
  ring_->Wake();
  const auto begin = steady_clock::now();
  Poll(5 * kSecond);
  EXPECT_LT(steady_clock::now() - begin, milliseconds(2500));
  ASSERT_EQ(shutdown(silent.fds[1], SHUT_WR), 0);
  for (Reader& reader : waiting) EXPECT_EQ(Result(reader.op), 0);
}

TEST_F(Ring, ReceivesTellTheEndOfTheStreamAndErrors) {
  Socketpair pair;
  Reader reader(*ring_, pair.fds[0]);
  ASSERT_EQ(shutdown(pair.fds[1], SHUT_WR), 0);
  reader.Receive();
  Poll(0);
  EXPECT_EQ(reader.op.ended, 1);
  EXPECT_EQ(reader.op.result, 0);
  Reader nobody(*ring_, -1);
  nobody.Receive();
  Poll(0);
  EXPECT_EQ(nobody.op.ended, 1);
  EXPECT_EQ(nobody.op.result, -EBADF);
}

TEST_F(Ring, ACancelledReceiveEndsOnceAndTakesNothing) {
  Socketpair pair;
  Reader direct(*ring_, pair.fds[0]);
  direct.Receive();
  ASSERT_EQ(write(pair.fds[1], "request", 7), 7);
  ring_->CancelReceive(direct.op);
  EXPECT_EQ(direct.op.ended, 0) << "never from inside the call";
  EXPECT_EQ(Result(direct.op), -ECANCELED);
  Reader next(*ring_, pair.fds[0]);
  next.Receive();
  EXPECT_EQ(Result(next.op), 7) << "the bytes are still there";

  Reader armed(*ring_, pair.fds[0]);
  armed.Receive();
  Poll(kMillisecond);
  ring_->CancelReceive(armed.op);
  EXPECT_EQ(Result(armed.op), -ECANCELED);
}

TEST_F(Ring, PollTellsWhatHappened) {
  Socketpair pair;
  TestOp poll;
  ring_->PollFd(poll, pair.fds[0], POLLIN | POLLRDHUP);
  Poll(0);
  EXPECT_EQ(poll.ended, 0);
  ASSERT_EQ(shutdown(pair.fds[1], SHUT_WR), 0);
  EXPECT_NE(Result(poll) & POLLRDHUP, 0);
}

TEST_F(Ring, ACancelledOperationEndsOnceWithECANCELED) {
  Socketpair pair;
  TestOp poll;
  ring_->PollFd(poll, pair.fds[0], POLLIN);
  Poll(0);
  ring_->CancelOp(poll);
  EXPECT_EQ(Result(poll), -ECANCELED);
  TestOp unsubmitted;
  ring_->PollFd(unsubmitted, pair.fds[0], POLLIN);
  ring_->CancelOp(unsubmitted);
  EXPECT_EQ(Result(unsubmitted), -ECANCELED) << "both went in one enter";
}

TEST_F(Ring, CancellingWhatHasEndedDoesNothing) {
  Socketpair pair;
  ASSERT_EQ(write(pair.fds[1], "x", 1), 1);
  TestOp poll;
  ring_->PollFd(poll, pair.fds[0], POLLIN);
  EXPECT_EQ(Result(poll), POLLIN);
  ring_->CancelOp(poll);
  Poll(0);
  Poll(0);
  EXPECT_EQ(poll.ended, 1);
}

// --- the poller ---

TEST_F(Ring, AWakeEndsAWaitThatIsUnderWayOrComesNext) {
  ring_->Wake();
  Poll(kForever);
  for (int i = 0; i < 20; ++i) {
    std::thread waker([&] {
      std::this_thread::sleep_for(milliseconds(1));
      ring_->Wake();
    });
    Poll(kForever);
    waker.join();
  }
}

TEST_F(Ring, AWaitWithPreparedOperationsIsOneEnterAndOneTimeout) {
  Socketpair pair;
  TestOp poll;
  ring_->PollFd(poll, pair.fds[0], POLLIN);
  const uint64_t enters = ring_->enters();
  const auto begin = steady_clock::now();
  Poll(100 * kMillisecond);
  const auto took = steady_clock::now() - begin;
  EXPECT_GE(took, milliseconds(99));
  EXPECT_LT(took, milliseconds(180)) << "not twice";
  EXPECT_EQ(ring_->enters(), enters + 1);
  EXPECT_EQ(poll.ended, 0);
  ring_->CancelOp(poll);
  Result(poll);
}

TEST_F(Ring, WhatIsCompleteIsFetchedWithoutWaiting) {
  Fd zero(open("/dev/zero", O_RDONLY | O_CLOEXEC));
  char byte;
  const Segment in = {&byte, 1};
  TestOp read;
  ring_->Readv(read, zero, &in, 1, 0);
  Poll(kForever);
  EXPECT_EQ(read.ended, 1);
}

TEST_F(Ring, LooksWithoutWorkDoNotEnterTheKernel) {
  const uint64_t enters = ring_->enters();
  for (int i = 0; i < 1000; ++i) Poll(0);
  EXPECT_EQ(ring_->enters(), enters);
}

TEST_F(Ring, ALookFindsWhatCompletedMeanwhile) {
  Fd event(eventfd(0, EFD_CLOEXEC));
  TestOp poll;
  ring_->PollFd(poll, event, POLLIN);
  Poll(0);
  std::thread other([&] { eventfd_write(event, 1); });
  const auto end = steady_clock::now() + std::chrono::seconds(10);
  while (poll.ended == 0 && steady_clock::now() < end) Poll(0);
  other.join();
  EXPECT_EQ(poll.ended, 1);
}

TEST_F(Ring, ASignalEndsTheWaitAndLosesNothing) {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  sigaction(SIGUSR1, &action, nullptr);
  const pthread_t self = pthread_self();
  std::thread other([&] {
    std::this_thread::sleep_for(milliseconds(20));
    pthread_kill(self, SIGUSR1);
  });
  const auto begin = steady_clock::now();
  Poll(30 * kSecond);
  EXPECT_LT(steady_clock::now() - begin, std::chrono::seconds(20));
  other.join();
  ring_->Wake();
  Poll(kForever);
}

TEST_F(Ring, MoreOperationsThanTheQueueHoldsAreSubmittedEarly) {
  Fd zero(open("/dev/zero", O_RDONLY | O_CLOEXEC));
  char byte;
  const Segment in = {&byte, 1};
  std::deque<TestOp> ops(20'000);
  for (TestOp& op : ops) ring_->Readv(op, zero, &in, 1, 0);
  for (TestOp& op : ops) ASSERT_EQ(Result(op), 1);
  for (TestOp& op : ops) ASSERT_EQ(op.ended, 1);
}

TEST_F(Ring, MoreCompletionsThanTheirQueueHoldsAreAllDelivered) {
  Fd event(eventfd(0, EFD_CLOEXEC));
  std::deque<TestOp> ops(20'000);
  for (TestOp& op : ops) ring_->PollFd(op, event, POLLIN);
  Poll(0);
  for (TestOp& op : ops) ASSERT_EQ(op.ended, 0);
  eventfd_write(event, 1);  // completes them all at once, 8192 fit
  for (TestOp& op : ops) ASSERT_EQ(Result(op), POLLIN);
  for (TestOp& op : ops) ASSERT_EQ(op.ended, 1);
}

TEST(RingLife, ARingThatWasNeverStartedMayDieOnAnyThread) {
  auto ring = RingPoller::Create();
  ASSERT_TRUE(ring.ok());
  std::thread([&] { ring->reset(); }).join();
}

TEST(RingLife, ARingMayDieWithOperationsUnderWay) {
  Socketpair pair;
  TestOp poll;
  auto ring = RingPoller::Create();
  ASSERT_TRUE(ring.ok());
  (*ring)->Start();
  (*ring)->PollFd(poll, pair.fds[0], POLLIN);
  ReadyList ready;
  (*ring)->Poll(0, ready);
  ring->reset();
  EXPECT_EQ(poll.ended, 0);
}

}  // namespace
}  // namespace sluice
