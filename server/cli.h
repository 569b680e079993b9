// SPDX-License-Identifier: Apache-2.0
// The command line of sluiced:
//
//   sluiced --config FILE [--check-config] | --version | --list-strategies | --help
//   sluiced serve [flags] TARGET             one export, no config file; `sluiced serve --help`
//   lists the flags
//     TARGET: PATH | memory:SIZE | null:SIZE
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "server/config.h"

namespace sluice {

struct Command {
  enum class Kind : uint8_t {
    kServe,           // serve `config`
    kCheckConfig,     // `config` is good: say so and stop
    kListStrategies,  // print them and stop
    kPrint,           // print `text` and stop: --help, --version
  };

  Kind kind = Kind::kServe;
  Config config;     // kServe, kCheckConfig: completed and checked
  std::string text;  // kPrint: with its last newline
};

// Reads the config file if one is named. InvalidArgument: one line that says what is wrong and how
// to put it right. Blocks.
absl::StatusOr<Command> ParseCommandLine(int argc, const char* const* argv);

}  // namespace sluice
