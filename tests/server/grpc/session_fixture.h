// SPDX-License-Identifier: Apache-2.0
// A session on a manual reactor over a disk whose requests wait for the test.
#pragma once

#include <gtest/gtest.h>

#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/units.h"
#include "server/grpc/session.h"
#include "tests/server/held_target.h"

namespace sluice::rpc {

// A stream's end at the session: notes what it is told.
class Stream final : public Party {
 public:
  void OnResult(const OpResult& result, const Bio*) noexcept override {
    results.emplace_back(result.op_id, result.reason);
  }
  void OnTaken() noexcept override { batches.pop_front(); }
  void OnClosed(Reason why) noexcept override { closed = why; }
  void OnNews(const News& news) noexcept override {
    draining = news.draining;
    if (news.exported != nullptr) size_told = news.exported->size_bytes;
  }

  std::list<std::vector<OpRequest>> batches;  // not yet taken
  std::vector<std::pair<uint64_t, Reason>> results;
  Reason closed = Reason::kNone;
  bool draining = false;
  uint64_t size_told = 0;
};

class SessionTest : public testing::Test {
 protected:
  static constexpr uint64_t kSize = 64 * kMiB;

  ~SessionTest() override {
    End(Reason::kSessionLost, false, [this] { settled_ = true; });
    Serve();
    EXPECT_TRUE(settled_);
    EXPECT_TRUE(session_->idle());
  }

  static SessionOptions Options() {
    SessionOptions options;
    options.writes = true;
    options.window = 64;
    return options;
  }
  void Reopen(const SessionOptions& options) {
    session_ = std::make_unique<Session>(reactor_, exported_, options);
  }

  OpRequest Make(uint64_t op_id, Op op, uint64_t offset, uint64_t length = 4096) {
    OpRequest made;
    made.op_id = op_id;
    made.op = op;
    made.offset = offset;
    made.length = length;
    made.data = data_.data();
    return made;
  }
  OpRequest Write(uint64_t op_id, uint64_t offset) { return Make(op_id, Op::kWrite, offset); }
  OpRequest Read(uint64_t op_id, uint64_t offset) { return Make(op_id, Op::kRead, offset); }

  Stream& New() { return streams_.emplace_back(); }
  void Send(Stream& stream, std::vector<OpRequest> ops) {
    stream.batches.push_back(std::move(ops));
    On([&] { session_->Submit(stream, stream.batches.back()); });
  }
  // Attaches; false if that is refused or not answered yet.
  bool Attach(Stream& stream, uint64_t seq) {
    auto attached = std::make_shared<bool>(false);
    On([&] {
      session_->Attach(stream, seq, [this, attached](Session::Attached answer) {
        answer_ = std::move(answer);
        *attached = answer_.refused == Reason::kNone;
      });
    });
    return *attached;
  }
  void End(Reason why, bool abandon, absl::AnyInvocable<void()> settled) {
    On([&] { session_->End(why, abandon, std::move(settled)); });
  }
  // On the session's reactor.
  void On(absl::AnyInvocable<void()> work) {
    reactor_.Post(std::move(work));
    Turn();
  }
  void Turn() {
    for (int i = 0; i < 10; ++i) reactor_.Turn();
  }
  // The disk does all it was given, again and again.
  void Serve(int error = 0) {
    for (int i = 0; i < 8; ++i) {
      disk_->StartAll();
      disk_->EndStarted(error);
      Turn();
    }
  }

  ManualClock clock_;
  ReactorSet reactors_{[] {
                         std::vector<std::unique_ptr<Poller>> pollers;
                         pollers.push_back(std::make_unique<ManualPoller>());
                         return pollers;
                       }(),
                       clock_, ReactorOptions{1024, 4 * kMiB, 0}};
  Reactor& reactor_ = reactors_.at(0);
  std::unique_ptr<HeldTarget> disk_ = std::make_unique<HeldTarget>(reactor_, kSize);
  std::shared_ptr<Export> exported_ = [this] {
    auto made = std::make_shared<Export>();
    made->name = "disk";
    made->size_bytes = kSize;
    made->can_zero = true;
    made->target = disk_.get();
    return made;
  }();
  std::string data_ = std::string(kMiB, 'x');
  std::unique_ptr<Session> session_ = std::make_unique<Session>(reactor_, exported_, Options());
  Session::Attached answer_;
  std::list<Stream> streams_;
  bool settled_ = false;
};

}  // namespace sluice::rpc
