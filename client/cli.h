// SPDX-License-Identifier: Apache-2.0
// The command line of sluice:
//
//   sluice COMMAND [flags] ...      `sluice COMMAND --help` lists the flags
//   sluice --help | --version
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "client/bench/options.h"
#include "client/command/commands.h"

namespace sluice {

struct ClientCommand {
  enum class Kind : uint8_t {
    kBench,    // run `bench`
    kCommand,  // run `run` with `options`
    kPrint,    // print `text` and stop: --help, --version
  };

  Kind kind = Kind::kPrint;
  bench::Options bench;  // kBench: checked
  int (*run)(const command::Options&) = nullptr;
  command::Options options;
  std::string text;  // kPrint: with its last newline
};

// InvalidArgument: one line that says what is wrong and how to put it right.
absl::StatusOr<ClientCommand> ParseClientCommandLine(int argc, const char* const* argv);

}  // namespace sluice
