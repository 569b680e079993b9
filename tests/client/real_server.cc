// SPDX-License-Identifier: Apache-2.0
#include "tests/client/real_server.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <utility>

namespace sluice {
namespace {

std::string Inside(std::string text, const std::string& folder) {
  for (size_t at = 0; (at = text.find("DIR", at)) != std::string::npos;) {
    text.replace(at, 3, folder);
    at += folder.size();
  }
  return text;
}

}  // namespace

RealServer::RealServer(Bare) {
  char name[] = "/tmp/sluice-client-XXXXXX";
  folder_ = mkdtemp(name);
  // Beside the test.
  words_ = {std::filesystem::read_symlink("/proc/self/exe").parent_path() / "sluiced"};
}

RealServer::RealServer(std::string target, std::vector<std::string> options) : RealServer(Bare()) {
  for (const char* word : {"serve", "--name", "disk", "--nbd", "unix:DIR/nbd", "--grpc",
                           "unix:DIR/grpc", "--state-dir", "DIR/state"}) {
    words_.push_back(Inside(word, folder_));
  }
  for (const std::string& option : options) words_.push_back(Inside(option, folder_));
  words_.push_back(Inside(std::move(target), folder_));
  Start();
}

std::unique_ptr<RealServer> RealServer::WithConfig(const std::string& config) {
  std::unique_ptr<RealServer> server(new RealServer(Bare()));
  const std::string path = server->folder_ + "/config";
  std::ofstream(path) << Inside(config, server->folder_);
  server->words_.insert(server->words_.end(), {"--config", path});
  server->Start();
  return server;
}

RealServer::~RealServer() {
  if (child_ > 0) Kill();
  std::filesystem::remove_all(folder_);
}

void RealServer::Start() {
  std::vector<char*> words;
  for (std::string& word : words_) words.push_back(word.data());
  words.push_back(nullptr);
  int ready[2];
  ASSERT_EQ(pipe2(ready, O_CLOEXEC), 0);
  child_ = fork();
  if (child_ == 0) {
    dup2(ready[1], STDOUT_FILENO);
    const int log = open((folder_ + "/log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(log, STDERR_FILENO);
    execv(words[0], words.data());
    _exit(127);
  }
  close(ready[1]);
  char byte = 0;
  EXPECT_EQ(read(ready[0], &byte, 1), 1) << "it does not start: see " << folder_ << "/log";
  close(ready[0]);
}

void RealServer::Signal(int number) const { ASSERT_EQ(kill(child_, number), 0); }

void RealServer::Kill() {
  Signal(SIGKILL);
  Await();
}

void RealServer::Terminate() {
  Signal(SIGTERM);
  const int status = Await();
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

int RealServer::Await() {
  const pid_t child = std::exchange(child_, -1);
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return status;
}

}  // namespace sluice
