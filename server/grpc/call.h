// SPDX-License-Identifier: Apache-2.0
// What every call of the door is made of. gRPC's threads are foreign: one runs Loop() for each
// completion queue and calls the steps of the calls; sessions answer on their reactors. gRPC's own
// hand-over between these is invisible to the thread sanitizer, so each step carries one of ours.
#pragma once

#include <grpcpp/completion_queue.h>

#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "core/reactor.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpc/reflection/v1alpha/reflection.grpc.pb.h"
#include "server/grpc/callers.h"
#include "server/grpc/quota.h"
#include "server/grpc/registry.h"
#include "sluice/v1/block.grpc.pb.h"

namespace sluice::rpc {

inline constexpr uint32_t kMessageMax = 4 * 1024 * 1024;  // on the wire, bytes
inline constexpr uint32_t kOpsPerMessage = 1024;
inline constexpr uint32_t kStreamOps = 1024;  // credits of one stream
inline constexpr uint64_t kStreamBytes = 16 * 1024 * 1024;

// Calls of one kind that may live at one time on one queue: each holds at least one message. More
// wait in gRPC, under its quota and the streams a connection may have.
inline constexpr uint32_t kStreamsMax = 256;
inline constexpr uint32_t kStreamsOfOne = kStreamsMax / 4;  // of one certificate, for each queue
inline constexpr uint32_t kUnaryMax = 64;
inline constexpr uint32_t kRangesMax = 16;

// Keeps to such a limit. Any thread.
class Doorway {
 public:
  explicit Doorway(uint32_t limit) : limit_(limit) {}

  // A call was taken; `next` makes one wait for the next client: now, or when there is room.
  void Enter(absl::AnyInvocable<void()> next) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (++inside_ >= limit_) {
        next_ = std::move(next);
        return;
      }
    }
    next();
  }
  void Leave() {
    absl::AnyInvocable<void()> next;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      --inside_;
      next.swap(next_);
    }
    if (next != nullptr) next();
  }

 private:
  const uint32_t limit_;
  std::mutex mutex_;
  uint32_t inside_ = 0;              // guarded by mutex_
  absl::AnyInvocable<void()> next_;  // guarded by mutex_
};

// Those who want to hear that the door begins to drain. Any thread.
class DrainListener {
 public:
  virtual void OnDrain() = 0;

 protected:
  ~DrainListener() = default;
};

class DrainListeners {
 public:
  void Add(const std::shared_ptr<DrainListener>& listener) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::erase_if(listeners_, [](const auto& weak) { return weak.expired(); });
    listeners_.push_back(listener);
  }
  void Tell() {
    std::vector<std::weak_ptr<DrainListener>> listeners;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      listeners.swap(listeners_);
    }
    for (const auto& weak : listeners) {
      if (const auto listener = weak.lock()) listener->OnDrain();
    }
  }

 private:
  std::mutex mutex_;
  std::vector<std::weak_ptr<DrainListener>> listeners_;  // guarded by mutex_
};

struct ControlServices;

// What the calls share. Outlives them.
struct Host {
  Host(Registry& its_registry, Reactor& its_reactor, uint32_t queues)
      : registry(its_registry), here(its_reactor), streams(queues * kStreamsOfOne) {}
  Registry& registry;
  Reactor& here;  // the registry's
  Callers callers;
  Quota streams;                       // of Io
  ControlServices* control = nullptr;  // set before the first call
  // Io's messages are made and parsed by its calls: gRPC would do both outside of a Step's
  // hand-over.
  v1::BlockService::WithRawMethod_Io<v1::BlockService::AsyncService> block;
  ::grpc::health::v1::Health::AsyncService health;
  ::grpc::reflection::v1alpha::ServerReflection::AsyncService reflection;
  std::vector<std::string> services;  // the names of all, for the last two; constant once started
  std::atomic<bool> draining{false};
  DrainListeners at_drain;
  std::list<Doorway> doorways;  // made before the first call

  // Calls that live, and the door's own one until it has stopped; then `none_left` is called, on
  // any thread.
  std::atomic<uint32_t> live{1};
  absl::AnyInvocable<void()> none_left;
  void Leave() {
    if (live.fetch_sub(1) == 1) none_left();
  }
};

class Tag {
 public:
  virtual void Proceed(bool ok) noexcept = 0;

 protected:
  ~Tag() = default;
};

// Calls (call.*then)(ok) when gRPC is done with what it was given to; keeps the call alive until
// then. One use at a time.
template <typename C>
class Step final : public Tag {
 public:
  class Giving {
   public:
    explicit Giving(Step& step) : lock_(step.mutex_), tag_(static_cast<Tag*>(&step)) {}
    operator void*() const { return tag_; }  // NOLINT(google-explicit-constructor): gRPC's tag

   private:
    const std::lock_guard<std::mutex> lock_;
    void* const tag_;
  };

  Step(C& call, void (C::*then)(bool)) : call_(call), then_(then) {}
  // The tag, for what leaves all of ours alone: the step comes after what was done before this.
  void* Give() {
    keep_ = call_.shared_from_this();
    handed_.store(true, std::memory_order_release);
    return static_cast<Tag*>(this);
  }
  // The tag as an argument of a call that reads what is ours, a message or a status: that it does
  // after its arguments were made, and the step may come before it has returned. The step waits for
  // that, and so comes after all of it.
  Giving Lend() {
    keep_ = call_.shared_from_this();
    return Giving(*this);
  }
  // Lets go of the call: gRPC was given this and never comes back with it.
  void Drop() { keep_ = nullptr; }
  void Proceed(bool ok) noexcept override {
    handed_.load(std::memory_order_acquire);
    { const std::lock_guard<std::mutex> given(mutex_); }
    const std::shared_ptr<C> keep = std::move(keep_);
    (call_.*then_)(ok);
  }

 private:
  C& call_;
  void (C::*then_)(bool);
  std::shared_ptr<C> keep_;
  std::atomic<bool> handed_{false};
  std::mutex mutex_;  // held while it is lent
};

class Call {
 public:
  Call(Host& host, Doorway& doorway) : host_(host), doorway_(doorway) { host.live.fetch_add(1); }
  virtual ~Call() {
    if (entered_) doorway_.Leave();
    host_.Leave();
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

 protected:
  // A client has come; `next` as Doorway::Enter() takes it.
  void Enter(absl::AnyInvocable<void()> next) {
    entered_ = true;
    doorway_.Enter(std::move(next));
  }

  Host& host_;
  Doorway& doorway_;

 private:
  bool entered_ = false;  // written by the thread that takes it, before anybody else has it
};

// Makes one call of each kind wait for a client on `cq`; each that is taken makes the next. Before
// the queue's thread runs.
void AwaitStreams(Host& host, ::grpc::ServerCompletionQueue& cq);
void AwaitUnary(Host& host, ::grpc::ServerCompletionQueue& cq);
void AwaitRanges(Host& host, ::grpc::ServerCompletionQueue& cq);
void AwaitObservers(Host& host, ::grpc::ServerCompletionQueue& cq);

}  // namespace sluice::rpc
