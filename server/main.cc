// SPDX-License-Identifier: Apache-2.0
// sluiced. Exit status: 0 drained (or printed, or checked), 1 could not start or not drain, 2 wrong
// use or config.
#include <sys/resource.h>

#include <cstdio>
#include <string>

#include "core/log.h"
#include "server/cli.h"
#include "server/inherited.h"
#include "server/log.h"
#include "server/notify.h"
#include "server/server.h"
#include "server/signals.h"
#include "storage/bufq.h"

namespace sluice {
namespace {

// The usual soft limit of 1024 is less than the connections that we allow; the hard one is the
// operator's to set.
void RaiseFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

int CannotStart(const absl::Status& status) {
  std::fprintf(stderr, "sluiced: %s\n", std::string(status.message()).c_str());
  return 1;
}

int Main(int argc, const char* const* argv) {
  auto command = ParseCommandLine(argc, argv);
  if (!command.ok()) {
    std::fprintf(stderr, "sluiced: %s\n", std::string(command.status().message()).c_str());
    return 2;
  }
  switch (command->kind) {
    case Command::Kind::kPrint:
      std::fputs(command->text.c_str(), stdout);
      return 0;
    case Command::Kind::kCheckConfig:
      std::puts("the config is good");
      return 0;
    case Command::Kind::kListStrategies:
      for (const BufqStrategy& strategy : BufqRegistry::Get().List()) {
        std::printf("%-12s %s\n", strategy.name, strategy.summary);
      }
      return 0;
    case Command::Kind::kServe:
      break;
  }
  StartLog();
  RaiseFileLimit();
  BlockSignals();
  const auto inherited = TakeInheritedFds();
  if (!inherited.ok()) return CannotStart(inherited.status());
  if (auto status = UseInherited(*inherited, command->config); !status.ok()) {
    return CannotStart(status);
  }
  auto server = Server::Create(command->config);
  if (!server.ok()) return CannotStart(server.status());
  return (*server)->Run();
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) { return sluice::Main(argc, argv); }
