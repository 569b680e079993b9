// SPDX-License-Identifier: Apache-2.0
// Stands between a client and a server's unix socket, and does to their bytes what networks do. The
// server's side of a connection it cuts is closed too, once it has passed on what the server is
// still to get.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace sluice {

class FaultProxy {
 public:
  explicit FaultProxy(std::string server_path);
  ~FaultProxy();
  FaultProxy(const FaultProxy&) = delete;
  FaultProxy& operator=(const FaultProxy&) = delete;

  std::string uri() const { return "nbd+unix:///disk?socket=" + path_; }
  std::string grpc_uri() const { return "sluice+unix:///disk?socket=" + path_; }
  int connections() const { return accepted_.load(); }

  // Each is for what comes from now on, on the connections there are and will be.

  // After `bytes` more of requests, or of replies, that connection is cut; once.
  void CutRequestsAfter(int64_t bytes) { requests_left_ = bytes; }
  void CutRepliesAfter(int64_t bytes) { replies_left_ = bytes; }
  // The next piece of replies comes twice.
  void DuplicateReplies() { duplicate_ = true; }
  void DelayReplies(int milliseconds) { delay_ms_ = milliseconds; }
  // Replies are kept back until this is false again.
  void HoldReplies(bool hold) { hold_ = hold; }
  // Cuts all connections now; what is held is lost.
  void Reset();
  // New connections are closed at once.
  void Refuse(bool refuse) { refuse_ = refuse; }

 private:
  void Accept();
  void Relay(int client, int server);
  bool PassRequests(int client, int server);
  bool PassReplies(int server, int client);

  const std::string server_path_;
  const std::string path_;
  int listener_ = -1;
  std::atomic<int> accepted_ = 0;
  std::atomic<int64_t> requests_left_ = INT64_MAX;
  std::atomic<int64_t> replies_left_ = INT64_MAX;
  std::atomic<bool> duplicate_ = false;
  std::atomic<int> delay_ms_ = 0;
  std::atomic<bool> hold_ = false;
  std::atomic<bool> refuse_ = false;
  std::atomic<bool> ending_ = false;

  std::mutex mutex_;
  std::vector<int> fds_;  // guarded by mutex_; both ends of each connection
  std::vector<std::thread> relays_;
  std::thread accepting_;
};

}  // namespace sluice
