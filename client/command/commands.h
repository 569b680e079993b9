// SPDX-License-Identifier: Apache-2.0
// What `sluice` does besides `sluice bench`. Each runs to its end on the calling thread, writes
// what was asked for to stdout and what went wrong to stderr, and returns the exit status: 0 all is
// well, 1 something failed, or differs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "client/control/server_options.h"

namespace sluice::command {

struct Options {
  // A URI, or a path where a command takes one.
  std::string source, target;
  control::ServerOptions server;   // how servers of sluice:// URIs are spoken to
  uint64_t offset = 0;             // bytes
  std::optional<uint64_t> length;  // bytes; to the end, or all there is
  std::string file = "-";          // of read and write; "-" is stdout or stdin
  std::string journal;             // of copy; empty: none
  uint32_t connections = 4;        // for each volume
  uint32_t jobs = 16;              // requests in flight, of copy and verify
  bool json = false;
  bool fua = false;
  bool flush = false;
  bool verify = false;
  bool quiet = false;
  bool force = false;   // gRPC: take what is written over from whoever holds it
  bool shared = false;  // gRPC: write beside others
};

int Stat(const Options& options);
int List(const Options& options);
int Map(const Options& options);
int Read(const Options& options);
int Write(const Options& options);
int Copy(const Options& options);
int Verify(const Options& options);

}  // namespace sluice::command
