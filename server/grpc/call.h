// SPDX-License-Identifier: Apache-2.0
// What every call of the door is made of. gRPC's threads are foreign: one runs Loop() for each
// completion queue and calls the steps of the calls; sessions answer on their reactors. gRPC's own
// hand-over between these is invisible to the thread sanitizer, so each step carries one of ours.
#pragma once

#include <grpcpp/completion_queue.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "core/reactor.h"
#include "core/units.h"
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

// What lives at one time. Each call is taken from gRPC as it comes, and refused if there is no
// room: gRPC's own line has no end, and keeps calls with their messages when their clients have
// long gone.
inline constexpr Quota::Limits kStreams{1024, 256, "Io streams",
                                        "end some, or use fewer with more ops each"};
inline constexpr Quota::Limits kUnary{
    256 * kMiB, 64 * kMiB, "bytes of unary calls",
    "wait for the answers of some, make them smaller, or use an Io stream"};
// Those that are no ops: leases are renewed and the server is run also while ops fill their room,
// on a drive that hangs.
inline constexpr Quota::Limits kNoOps{64 * kMiB, 16 * kMiB, "bytes of unary calls that are no ops",
                                      "wait for the answers of some"};
inline constexpr uint64_t kUnaryBytes = 16 * kKiB;  // of one, besides its data
inline constexpr Quota::Limits kLongCalls{
    // of one kind, but Io
    64, 16, "calls of this kind", "end some, or try again later"};

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
  Host(Registry& its_registry, Reactor& its_reactor) : registry(its_registry), here(its_reactor) {}
  Registry& registry;
  Reactor& here;  // the registry's
  Callers callers;
  Quota streams{kStreams};
  Quota unary{kUnary};
  Quota no_ops{kNoOps};
  std::list<Quota> others;             // made before the first call
  ControlServices* control = nullptr;  // set before the first call
  // Io's messages are made and parsed by its calls: gRPC would do both outside of a Step's
  // hand-over.
  v1::BlockService::WithRawMethod_Io<v1::BlockService::AsyncService> block;
  ::grpc::health::v1::Health::AsyncService health;
  ::grpc::reflection::v1alpha::ServerReflection::AsyncService reflection;
  std::vector<std::string> services;  // the names of all, for the last two; constant once started
  std::atomic<bool> draining{false};
  DrainListeners at_drain;

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
  Call(Host& host, Quota& quota) : host_(host), quota_(quota) { host.live.fetch_add(1); }
  virtual ~Call() {
    Depart();  // while the host is there for sure
    host_.Leave();
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

 protected:
  // A client has come: what it takes of the quota is its until the end. An error is for the client.
  ::grpc::Status Enter(const ::grpc::ServerContext& context, uint64_t amount = 1);
  // Gives that back before the end, for what it stands for is gone.
  void Depart() { const Quota::Ticket place = std::move(place_); }

  Host& host_;
  Quota& quota_;

 private:
  Quota::Ticket place_;
};

// Makes one call of each kind wait for a client on `cq`; each that comes makes the next. Before
// the queue's thread runs.
void AwaitStreams(Host& host, ::grpc::ServerCompletionQueue& cq);
void AwaitUnary(Host& host, ::grpc::ServerCompletionQueue& cq);
void AwaitRanges(Host& host, ::grpc::ServerCompletionQueue& cq);
void AwaitObservers(Host& host, ::grpc::ServerCompletionQueue& cq);

}  // namespace sluice::rpc
