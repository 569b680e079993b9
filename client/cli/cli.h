// SPDX-License-Identifier: Apache-2.0
// The command line of sluice:
//
//   sluice [--server ADDR] COMMAND [flags] ...      `sluice COMMAND --help` lists the flags
//   sluice --help | --version
//
// This folder is the one place that knows CLI11. Help, man pages and what the shell completes are
// all made from the one tree of commands in it (tree.h).
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "client/bench/options.h"
#include "client/command/commands.h"
#include "client/control/link.h"

namespace sluice {

struct ClientCommand {
  enum class Kind : uint8_t {
    kBench,    // run `bench`
    kCommand,  // run `run` with `options`
    kControl,  // run `control` with a link to `server`
    kLocal,    // run `local`
    kPrint,    // print `text` and stop: --help, --version
  };

  Kind kind = Kind::kPrint;
  bench::Options bench;  // kBench: checked
  int (*run)(const command::Options&) = nullptr;
  command::Options options;
  std::function<int(const control::Link&)> control;
  control::ServerOptions server;
  std::function<int()> local;
  std::string text;  // kPrint: with its last newline
};

// InvalidArgument: one line that says what is wrong and how to put it right.
absl::StatusOr<ClientCommand> ParseClientCommandLine(int argc, const char* const* argv);

}  // namespace sluice
