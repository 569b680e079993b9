// SPDX-License-Identifier: Apache-2.0
// `sluice attach`, `sluice detach`, `sluice attached`: exports as block devices of this machine, by
// the kernel's nbd driver. Each runs on the calling thread, which has no companions (attach forks),
// writes what was asked for to stdout and what went wrong to stderr, and returns the exit status: 0
// all is well, 1 something failed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "client/control/server_options.h"

namespace sluice::attach {

struct Options {
  std::string what;    // attach: an NBD URI, or the name of an export of this machine's server
  std::string device;  // "nbd0" or "/dev/nbd0"; of attach also empty: one that is free
  std::optional<uint32_t> connections;
  std::optional<uint32_t> block_bytes;
  uint32_t timeout_s = 15;        // a request without an answer
  uint32_t give_up_s = 600;       // a server that is gone; 0: never given up
  uint32_t wait_s = 0;            // for a server that is not there yet
  uint32_t poll_s = 10;           // how often growth is looked for
  control::ServerOptions server;  // whose gRPC door tells of changes
  bool watch = false;             // it is this export's server: listen to it
  bool read_only = false;
  bool foreground = false;
  bool force = false;  // of detach
  bool json = false;   // of attached
};

int Attach(const Options& options);
int Detach(const Options& options);
int Attached(const Options& options);

}  // namespace sluice::attach
