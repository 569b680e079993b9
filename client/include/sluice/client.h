// SPDX-License-Identifier: Apache-2.0
// The Sluice client library: block volumes of any NBD server, and of sluiced's gRPC door, where a
// session lets the server know a request again. Both reconnect by themselves.
//
//   auto client = sluice::Client::Create();
//   auto volume = client->Open("sluice://storage1/disk");
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

// What happens to a volume's connections and, over gRPC, its session.
enum class Event {
  kConnectionLost,  // `text` says why; it is being made again
  kReconnected,
  kGivenUp,    // reconnect_ms are over or the export has changed: every operation fails from now on
  kAttached,   // gRPC: a session was granted, the first one or, after a loss, another; `text` tells
               // its epoch
  kLeaseLost,  // gRPC: the server was silent for the lease. Nothing is sent, and nothing that comes
               // is believed, until it has confirmed the session
  kFenced,     // gRPC: another client has the volume: every operation fails from now on
  kResized,    // gRPC: see Volume::size_bytes()
};
using EventCallback = std::function<void(Event, const std::string& text)>;

// What a volume is opened for.
enum class Access {
  kReadWrite,  // gRPC: as its only writer, which other writers' clients are told
  kReadOnly,
  kShared,  // gRPC: as one of several writers, who see to their order themselves
};

// Files in PEM, of the gRPC door over TCP.
struct Tls {
  std::string ca_file = {};      // whom to trust; empty: the system's
  std::string cert_file = {};    // the client's own chain, with key_file; empty: none is shown
  std::string key_file = {};     // to be read by nobody else
  std::string server_name = {};  // in the server's certificate; empty: the URI's host
};

// How a volume is opened. Times in milliseconds.
struct Options {
  // NBD: more than one only where the server promises that a flush on one covers all (MULTI_CONN)
  // or the volume is read-only. 1 to 64.
  uint32_t connections = 1;
  uint32_t queue_depth = 128;            // requests in flight on each connection; 1 to 4096
  uint32_t connect_timeout_ms = 30'000;  // of each step of connecting; NBD: whole seconds, rounded
                                         // up
  uint32_t reply_timeout_ms = 60'000;    // of silence while answers are due; then the connection
                                         // counts as lost; 0: never
  uint32_t reconnect_ms = 60'000;        // how long a lost connection is made again; 0: not at all
  // NBD: send writes again that a lost connection left unanswered, and trust the server to have
  // kept what it answered. Only for volumes nobody else writes to, on a server that settles a dead
  // connection's requests before it admits the next one, as sluiced does. gRPC: the server knows a
  // write again, so this is about the trust alone, after a server's restart.
  bool resend_writes = false;
  EventCallback on_event = {};  // on the volume's I/O thread, like a callback
  Access access = Access::kReadWrite;

  // The rest is for gRPC.

  // Who opens: 1 to 128 bytes of UTF-8. A client that opens again ends its own earlier session at
  // once; others wait for the lease's end. So give a name that outlives the process to a service
  // that restarts, and never the same one to two. Empty: one that nobody else has.
  std::string client_id = {};
  std::string instance_id = {};  // which run of it, for people; at most 128 bytes; empty: host, pid
  // Take over from whoever holds the volume: they are fenced.
  bool force = false;
  Tls tls = {};
  bool insecure_tcp = false;  // TCP without TLS: whoever is on the way can read and change it all
};

namespace internal {
class Engine;
}

// The volumes opened through it, and their I/O threads: one for all over NBD, one for each over
// gRPC. Any thread; copies are the same client. Volumes may outlive the handle: a thread ends with
// the last that uses it.
class SLUICE_API Client {
 public:
  static Result<Client> Create();

  // Connects; blocks for at most connect_timeout_ms a step. `uri` is nbd://HOST[:PORT]/EXPORT,
  // nbd+unix:///EXPORT?socket=PATH, or for gRPC sluice://HOST[:PORT]/EXPORT or
  // sluice+unix:///EXPORT?socket=PATH. kFailedPrecondition: another client holds the volume; the
  // message names it and the end of its lease.
  Result<Volume> Open(std::string_view uri, const Options& options = {}) const;

  BufferPool& buffers() const;

 private:
  explicit Client(std::shared_ptr<internal::Engine> engine) : engine_(std::move(engine)) {}
  std::shared_ptr<internal::Engine> engine_;
};

SLUICE_SDK_END
