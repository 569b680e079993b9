// SPDX-License-Identifier: Apache-2.0
// The Sluice client library: block volumes of any NBD server, with reconnection.
//
//   auto client = sluice::Client::Create();
//   auto volume = client->Open("nbd://127.0.0.1:10809/disk");
//   if (!volume.ok()) { ... volume.status().ToString() ... }
//   auto status = volume->Write(0, bytes, sluice::kFua);
//
// Build with find_package(sluice) and sluice::sluice, or `pkg-config sluice`.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "sluice/export.h"
#include "sluice/status.h"
#include "sluice/volume.h"

SLUICE_SDK_BEGIN

// What happens to a volume's connections.
enum class Event {
  kConnectionLost,  // `text` says why; it is being made again
  kReconnected,
  kGivenUp,  // reconnect_ms are over or the export has changed: every operation fails from now on
};
using EventCallback = std::function<void(Event, const std::string& text)>;

// How a volume is opened. Times in milliseconds.
struct Options {
  // More than one only where the server promises that a flush on one covers all (MULTI_CONN) or
  // the volume is read-only. 1 to 64.
  uint32_t connections = 1;
  uint32_t queue_depth = 128;            // requests in flight on each connection; 1 to 4096
  uint32_t connect_timeout_ms = 30'000;  // of each step of connecting; whole seconds, rounded up
  uint32_t reply_timeout_ms = 60'000;    // of silence while answers are due; then the connection
                                         // counts as lost; 0: never
  uint32_t reconnect_ms = 60'000;        // how long a lost connection is made again; 0: not at all
  // Send writes again that a lost connection left unanswered, and trust the server to have kept
  // what it answered. Only for volumes nobody else writes to, on a server that settles a dead
  // connection's requests before it admits the next one, as sluiced does.
  bool resend_writes = false;
  EventCallback on_event = {};  // on the client's I/O thread, like a callback
};

namespace internal {
class Engine;
}

// One I/O thread and the volumes opened through it. Any thread; copies are the same client. Volumes
// may outlive the handle: the thread ends with the last of both.
class SLUICE_API Client {
 public:
  static Result<Client> Create();

  // Connects; blocks for at most connect_timeout_ms a step. `uri` is nbd://HOST[:PORT]/EXPORT or
  // nbd+unix:///EXPORT?socket=PATH.
  Result<Volume> Open(std::string_view uri, const Options& options = {}) const;

  BufferPool& buffers() const;

 private:
  explicit Client(std::shared_ptr<internal::Engine> engine) : engine_(std::move(engine)) {}
  std::shared_ptr<internal::Engine> engine_;
};

SLUICE_SDK_END
