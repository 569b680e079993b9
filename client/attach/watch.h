// SPDX-License-Identifier: Apache-2.0
// Hears of changes on the server by its WatchEvents, over the gRPC door. It may be wrong or deaf:
// what it hears is a reason to look, and who waits for it looks from time to time anyway. Each call
// begins with what the server still keeps of the past, so that no change falls between two.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "client/control/server_options.h"

namespace grpc {
class ClientContext;
}  // namespace grpc

namespace sluice::attach {

// Has a thread of its own from construction to destruction; a process that forks does so before.
class Watch {
 public:
  explicit Watch(const control::ServerOptions& server);
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  ~Watch();

  // Readable when something on the server has changed; TakeNews() makes it quiet again.
  int event_fd() const { return event_fd_; }
  bool TakeNews();

 private:
  void Run(const control::ServerOptions& server);
  // Until the stream ends.
  void Listen(const control::ServerOptions& server);

  const int event_fd_;
  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;                      // under mutex_
  std::unique_ptr<grpc::ClientContext> call_;  // under mutex_: the stream, to be cancelled
  std::thread thread_;
};

}  // namespace sluice::attach
