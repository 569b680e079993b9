// SPDX-License-Identifier: Apache-2.0
// An NBD server for tests of clients: memory behind a unix socket, a thread for each connection,
// simple replies, and misbehaviour on order.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "proto/nbd_handshake.h"
#include "proto/nbd_transmission.h"

namespace sluice {

class FakeServer {
 public:
  struct Behaviour {
    uint64_t size = 1 << 20;  // told; no more than that is kept
    uint16_t flags = nbd::kHasFlags | nbd::kSendFlush | nbd::kSendFua | nbd::kSendTrim |
                     nbd::kSendWriteZeroes | nbd::kCanMultiConn;
    nbd::InfoBlockSize block_size = {};
    // What a request is answered with.
    std::function<nbd::Error(const nbd::Request&)> error = [](const nbd::Request&) {
      return nbd::Error::kNone;
    };
    // May change what a READ brings.
    std::function<void(const nbd::Request&, ByteSpan)> corrupt = [](const nbd::Request&, ByteSpan) {
    };
    // A connection is closed instead of refusing an option it does not know.
    bool hangs_up_at_options = false;
    // The first connection is closed instead of answering its request of this number, from 0.
    uint64_t close_at = UINT64_MAX;
    bool close_each = false;  // and so are all others
    // From this one on nothing is answered, and nothing closed.
    uint64_t silent_from = UINT64_MAX;
  };

  explicit FakeServer(Behaviour behaviour);
  ~FakeServer();
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  std::string uri() const { return "nbd+unix:///disk?socket=" + path_; }
  const std::string& path() const { return path_; }
  uint64_t Count(nbd::Command command) const {
    return counts_[static_cast<size_t>(command)].load();
  }
  uint64_t fua_count() const { return fua_.load(); }
  uint64_t connections() const { return accepted_.load(); }
  // While no client is connected.
  const std::vector<uint8_t>& memory() const { return memory_; }

 private:
  void Accept();
  void Serve(int fd, bool first);
  bool Handshake(int fd) const;
  bool ServeRequest(int fd, const nbd::Request& request);

  const Behaviour behaviour_;
  const std::string path_;
  std::mutex mutex_;
  std::vector<uint8_t> memory_;
  std::atomic<uint64_t> counts_[8] = {};
  std::atomic<uint64_t> fua_ = 0;
  std::atomic<uint64_t> accepted_ = 0;
  int listener_ = -1;
  std::vector<int> fds_;
  std::vector<std::thread> serving_;
  std::thread accepting_;
};

}  // namespace sluice
