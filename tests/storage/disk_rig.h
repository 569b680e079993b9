// SPDX-License-Identifier: Apache-2.0
// One disk over a faulty medium, on a reactor turned by hand. A request that is made here is
// submitted by Send(), together with others in one turn; the medium moves only by Tick() or
// Settle().
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "storage/bufq.h"
#include "storage/disk.h"
#include "tests/sim/faulty_medium.h"
#include "tests/storage/fake_target.h"

namespace sluice {

struct RigOptions {
  sim::FaultyOptions medium;
  DiskOptions disk;
  std::string bufq = "fcfs";
  std::string image;
  // What the disk gets instead of the faulty medium, which it may wrap.
  std::function<std::unique_ptr<Medium>(std::unique_ptr<Medium>)> wrap;
};

class DiskRig {
 public:
  explicit DiskRig(const RigOptions& options = {}) {
    auto poller = std::make_unique<ManualPoller>();
    poller_ = poller.get();
    std::vector<std::unique_ptr<Poller>> pollers;
    pollers.push_back(std::move(poller));
    set_ = std::make_unique<ReactorSet>(
        std::move(pollers), clock,
        ReactorOptions{.credits = 4096, .buffer_bytes = kMiB, .poll_budget_ns = 0});
    auto faulty = std::make_unique<sim::FaultyMedium>(*poller_, options.medium, options.image);
    medium = faulty.get();
    DiskOptions disk_options = options.disk;
    disk_options.name = "rig";
    std::unique_ptr<Medium> below = std::move(faulty);
    if (options.wrap) below = options.wrap(std::move(below));
    disk =
        std::make_unique<Disk>(disk_options, std::move(below), Strategy(options.bufq), set_->at(0));
  }

  // Every request made was answered and released once, and the disk is empty.
  ~DiskRig() {
    medium->Release();
    Settle();
    for (const auto& request : requests) {
      EXPECT_EQ(request->releases, 1) << OpName(request->bio().op) << request->bio().offset;
    }
    EXPECT_TRUE(disk->idle());
    disk.reset();
  }

  static std::unique_ptr<Bufq> Strategy(const std::string& name) {
    return *Bufq::Alloc(name, kBufqExact, {});
  }

  Request& Make(Op op, uint64_t offset, uint32_t length, uint8_t flags = 0) {
    requests.push_back(std::make_unique<Request>(*disk, op, offset, length, flags));
    return *requests.back();
  }
  Request& Write(uint64_t offset, uint32_t length, uint8_t flags = 0, uint32_t seed = 1) {
    Request& request = Make(Op::kWrite, offset, length, flags);
    request.Fill(seed);
    return request;
  }
  Request& Read(uint64_t offset, uint32_t length, uint8_t flags = 0) {
    return Make(Op::kRead, offset, length, flags);
  }
  Request& Flush() { return Make(Op::kFlush, 0, 0); }

  // Runs `work` on the disk's reactor, and ends that turn.
  void On(absl::AnyInvocable<void()> work) {
    set_->at(0).Post(std::move(work));
    Turn();
  }
  // Submits all of them in one turn.
  void Send(std::vector<Request*> batch) {
    On([batch = std::move(batch)] {
      for (Request* request : batch) Submit(request->bio());
    });
  }
  void Send(Request& request) { Send({&request}); }
  void Cancel(Request& request) {
    On([&request] { request.bio().target->Cancel(request.bio()); });
  }
  void Abandon(Request& request) {
    On([&request] { sluice::Abandon(request.bio()); });
  }

  // Turns until nothing is left to do without the medium; what the poller and the clock have new is
  // seen at the end of a turn, so two idle ones tell.
  void Turn() {
    for (int turns = 0, idle = 0; idle < 2; ++turns) {
      ASSERT_LT(turns, 10'000) << "busy for ever";
      idle = set_->at(0).Turn() ? 0 : idle + 1;
    }
  }
  // The medium works for one tick.
  void Tick() {
    medium->Pump();
    Turn();
  }
  void Settle() {
    Turn();
    for (int ticks = 0; medium->under_way() > 0; ++ticks) {
      ASSERT_LT(ticks, 10'000) << "the medium never ends";
      Tick();
    }
  }
  // Time passes, timers run.
  void Wait(uint64_t ns) {
    clock.Advance(ns);
    Turn();
  }

  // What the medium was asked to read or write: "w0+8 r16+4", in blocks of 512.
  std::string Log(size_t from = 0) const {
    std::string text;
    for (size_t i = from; i < medium->log().size(); ++i) {
      const sim::Request& op = medium->log()[i];
      text += (text.empty() ? "" : " ") + std::string(1, "rwftzc"[static_cast<int>(op.op)]);
      if (op.op == Op::kFlush) continue;
      text += std::to_string(op.offset / 512) + "+" + std::to_string(op.length / 512);
    }
    return text;
  }
  // A range of the medium as reads see it, and the pattern that Write() puts there.
  std::string Contents(uint64_t offset, uint32_t length) const {
    return medium->contents().substr(offset, length);
  }
  static std::string Pattern(uint64_t offset, uint32_t length, uint32_t seed = 1) {
    std::string bytes(length, '\0');
    for (uint32_t i = 0; i < length; ++i) bytes[i] = PatternAt(offset + i, seed);
    return bytes;
  }
  size_t UnderWay() const { return medium->under_way(); }

  ManualClock clock;
  sim::FaultyMedium* medium;
  std::unique_ptr<Disk> disk;
  std::vector<std::unique_ptr<Request>> requests;  // theirs to hold until all are done

 private:
  ManualPoller* poller_;
  std::unique_ptr<ReactorSet> set_;
};

}  // namespace sluice
