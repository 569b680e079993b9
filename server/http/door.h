// SPDX-License-Identifier: Apache-2.0
// The HTTP door: short pages for whoever watches the process. One thread of its own with a poll
// loop, at low priority, so that neither a scrape nor a hostile client takes time from the reactors
// or waits for them. It is there before anything is served and goes last.
//
// One request a connection. A head must come within 5 s and 8 KiB, the answer be taken within 10 s;
// who comes when 16 are inside takes the place of the one that is there longest, so that the slow
// keep nobody out. A lack of descriptors stops the accepting for 100 ms, not the answering.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "server/http/answer.h"
#include "server/socket.h"

namespace sluice::http {

class Door {
 public:
  static constexpr size_t kConnections = 16;

  // Starts the thread. `pages` are called on it. Main thread.
  static absl::StatusOr<std::unique_ptr<Door>> Open(
      std::vector<std::unique_ptr<ListeningSocket>> sockets, Pages pages);
  // Cuts who is inside and ends the thread.
  ~Door();
  Door(const Door&) = delete;
  Door& operator=(const Door&) = delete;

  // With the ports that they really have. Any thread.
  std::vector<std::string> Addresses() const;
  // Removes the files of unix sockets now: for a process that ends without more ado. Any thread.
  void RemoveFiles();

 private:
  struct Connection {
    enum class Phase : uint8_t { kReading, kWriting, kLingering };
    int fd = -1;
    Phase phase = Phase::kReading;
    uint64_t deadline_ns = 0;
    std::string head;
    std::string answer;
    size_t sent = 0;
  };

  Door(std::vector<std::unique_ptr<ListeningSocket>> sockets, Pages pages, int wake_fd);

  // --- its thread ---
  void Run();
  int TimeoutMs(uint64_t now_ns) const;
  void Accept(const ListeningSocket& socket, uint64_t now_ns);
  // False: it is over.
  bool Serve(Connection& connection, uint64_t now_ns);
  bool Read(Connection& connection, uint64_t now_ns);
  static bool Write(Connection& connection, uint64_t now_ns);
  static bool Linger(Connection& connection);

  const std::vector<std::unique_ptr<ListeningSocket>> sockets_;
  Answerer answerer_;
  const int wake_fd_;                  // readable: end
  std::list<Connection> connections_;  // the oldest first
  uint64_t back_off_ns_ = 0;           // nothing is accepted before
  uint64_t warned_ns_ = 0;
  std::thread thread_;
};

}  // namespace sluice::http
