// SPDX-License-Identifier: Apache-2.0
// sluice. Exit status: 0 all is well, 1 something failed on the way, 2 wrong use, 130 interrupted.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "client/bench/bench.h"
#include "client/bench/report.h"
#include "client/cli/cli.h"
#include "client/control/words.h"

namespace sluice {
namespace {

int RunBench(const bench::Options& options) {
  const auto result = bench::Run(options);
  if (!result.ok()) {
    std::fprintf(stderr, "sluice: %s\n", std::string(result.status().message()).c_str());
    return 1;
  }
  const std::string report =
      options.json ? bench::JsonOf(options, *result) : bench::TableOf(options, *result);
  std::fputs(report.c_str(), stdout);
  std::fputs(bench::ProblemsOf(*result).c_str(), stderr);
  if (!result->good()) return 1;
  return result->interrupted ? 130 : 0;
}

int RunControl(const ClientCommand& command) {
  const auto link = control::Link::Open(command.server);
  if (link.ok()) return command.control(*link);
  control::Fail(link.status());
  return 2;
}

// What gRPC would say on stderr, a failure says in words that name the cure. Names are looked up as
// the system does (nsswitch.conf, hosts), not by a resolver of gRPC's own. The user's word stands.
void TameGrpc() {
  setenv("GRPC_VERBOSITY", "NONE", 0);
  setenv("GRPC_DNS_RESOLVER", "native", 0);
}

int Main(int argc, const char* const* argv) {
  TameGrpc();
  const auto command = ParseClientCommandLine(argc, argv);
  if (!command.ok()) {
    std::fprintf(stderr, "sluice: %s\n", std::string(command.status().message()).c_str());
    return 2;
  }
  switch (command->kind) {
    case ClientCommand::Kind::kBench:
      return RunBench(command->bench);
    case ClientCommand::Kind::kCommand:
      return command->run(command->options);
    case ClientCommand::Kind::kControl:
      return RunControl(*command);
    case ClientCommand::Kind::kLocal:
      return command->local();
    case ClientCommand::Kind::kPrint:
      break;
  }
  std::fputs(command->text.c_str(), stdout);
  return 0;
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) { return sluice::Main(argc, argv); }
