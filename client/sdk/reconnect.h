// SPDX-License-Identifier: Apache-2.0
// Makes a lost connection again, on a thread of its own since connecting blocks: at once, then with
// longer and longer pauses, until it succeeds, the time is over or it is told to stop.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "absl/status/statusor.h"
#include "client/nbd_connection.h"
#include "client/sdk/engine.h"
#include "sluice/client.h"

SLUICE_SDK_BEGIN
namespace internal {

// The one way a transport of NBD opens a connection.
absl::StatusOr<NbdConnection> OpenLink(const NbdUri& uri, const Options& options);

class Reconnect final : private Engine::Message {
 public:
  // `done` runs on the I/O thread with the connection or the last error.
  using Done = std::function<void(absl::StatusOr<NbdConnection>)>;

  Reconnect(Engine& engine, NbdUri uri, const Options& options, Done done)
      : engine_(engine), uri_(std::move(uri)), options_(options), done_(std::move(done)) {}
  // Prepared to stop, or on the I/O thread with nothing begun that is not done.
  ~Reconnect() override;

  // On the I/O thread; not again before done().
  void Begin();
  // Not on the I/O thread: awaits the attempt under way. Begin() does nothing from now on.
  void PrepareToStop();

 private:
  void Run() override;
  void Attempt();
  bool Pause(uint64_t pause_ms);

  Engine& engine_;
  const NbdUri uri_;
  const Options options_;
  const Done done_;
  absl::StatusOr<NbdConnection> outcome_ = absl::UnavailableError("");

  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;  // guarded by mutex_, like thread_
  std::thread thread_;
};

}  // namespace internal
SLUICE_SDK_END
