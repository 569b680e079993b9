// SPDX-License-Identifier: Apache-2.0
// A sluiced of this build as a child process, with both doors on unix sockets: started, killed and
// started again.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

namespace sluice {

class RealServer {
 public:
  // `target` as on the command line of `sluiced serve`; DIR in it is a folder of its own.
  explicit RealServer(std::string target = "memory:16MiB", std::vector<std::string> options = {});
  // With a config, in which DIR is the folder; its doors listen at DIR/grpc and DIR/nbd.
  static std::unique_ptr<RealServer> WithConfig(const std::string& config);
  ~RealServer();
  RealServer(const RealServer&) = delete;
  RealServer& operator=(const RealServer&) = delete;

  // Returns when it is ready.
  void Start();
  void Kill();       // -9
  void Terminate();  // SIGTERM, and its drain; expects exit status 0
  void Signal(int number) const;

  const std::string& folder() const { return folder_; }
  std::string grpc_path() const { return folder_ + "/grpc"; }
  std::string nbd_path() const { return folder_ + "/nbd"; }
  std::string uri() const { return "sluice+unix:///disk?socket=" + grpc_path(); }
  std::string nbd_uri() const { return "nbd+unix:///disk?socket=" + nbd_path(); }

 private:
  struct Bare {};
  explicit RealServer(Bare);
  int Await();

  std::string folder_;
  std::vector<std::string> words_;
  pid_t child_ = -1;
};

}  // namespace sluice
