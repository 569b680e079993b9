// SPDX-License-Identifier: Apache-2.0
// The command line of sluice:
//
//   sluice bench [flags] URI      `sluice bench --help` lists the flags
//   sluice --help | --version
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "client/bench/options.h"

namespace sluice {

struct ClientCommand {
  enum class Kind : uint8_t {
    kBench,  // run `bench`
    kPrint,  // print `text` and stop: --help, --version
  };

  Kind kind = Kind::kPrint;
  bench::Options bench;  // kBench: checked
  std::string text;      // kPrint: with its last newline
};

// InvalidArgument: one line that says what is wrong and how to put it right.
absl::StatusOr<ClientCommand> ParseClientCommandLine(int argc, const char* const* argv);

}  // namespace sluice
