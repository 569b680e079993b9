// SPDX-License-Identifier: Apache-2.0
// What the process is told to serve: plain structs, filled from a file of sluice.v1.Config
// (proto/sluice/v1/config.proto documents every field) or from the command line (server/cli.h),
// checked once, constant from then on. Protobuf stays inside config.cc.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/units.h"
#include "server/address.h"
#include "storage/topology.h"

namespace sluice {

struct ExportConfig {
  std::string name;
  std::string volume;  // name of a disk or volume
  std::string description;
  bool read_only = false;
  uint32_t priority = 1;
  uint32_t weight = 100;
  bool nbd_excluded = true;             // a READ_WRITE session keeps NBD connections out
  std::vector<std::string> allow = {};  // who may open it (server/access.h); empty: everybody
  bool operator==(const ExportConfig&) const = default;
};

// What is listened on when a door is asked for and no address is said.
inline constexpr char kNbdAddress[] = "127.0.0.1:10809";
inline constexpr char kGrpcAddress[] = "unix:/run/sluice/grpc.sock";
inline constexpr char kHttpAddress[] = "127.0.0.1:10811";

// In ExportConfig::allow: whoever comes over a unix socket. No certificate's name means it.
inline constexpr char kAllowUnix[] = "unix";

struct NbdConfig {
  std::vector<Address> listen;
  bool insecure_tcp = false;
  mode_t socket_mode = 0600;
  std::string socket_owner;  // "USER:GROUP", "USER", ":GROUP" or empty
  std::string
      default_export;  // what the empty name means; empty: the only export, if there is only one
};

// TLS of a door over TCP: paths of PEM files.
struct TlsConfig {
  std::string cert;
  std::string key;
  std::string client_ca;
  std::vector<std::string> admin;  // names of certificates that may use the control services
};

struct GrpcConfig {
  std::vector<Address> listen;  // empty: no gRPC door
  bool insecure_tcp = false;
  mode_t socket_mode = 0600;
  std::string socket_owner;
  uint32_t connections = 100;
  uint32_t connections_per_host = 50;  // over TLS
  uint32_t lease_s = 30;
  std::optional<TlsConfig> tls;  // of all its addresses of TCP
};

struct HttpConfig {
  std::vector<Address> listen;  // empty: no HTTP door
  bool insecure_tcp = false;
  mode_t socket_mode = 0600;
  std::string socket_owner;
};

struct LimitsConfig {
  uint32_t handshakes = 100;
  uint32_t connections = 1000;
  uint32_t handshake_timeout_s = 10;
  uint32_t payload_timeout_s = 30;
  uint32_t idle_timeout_s = 0;  // 0: never
  uint32_t io_timeout_s = 60;
  uint32_t drain_timeout_s = 30;
  uint32_t requests_per_connection = 256;
  uint64_t pool_bytes = 128 * kMiB;  // of each reactor
};

struct Config {
  NbdConfig nbd;
  GrpcConfig grpc;
  HttpConfig http;
  TopologySpec topology;
  std::vector<ExportConfig> exports;
  std::vector<std::string> disk_roots;
  LimitsConfig limits;
  uint32_t reactors = 0;   // 0: one per usable CPU
  uint32_t poll_us = 100;  // 0: never
  std::string strategy_dir;
  std::string state_dir;  // empty: StateDir::DefaultPath()
};

// What is wrong, and where: `key` is a path of the schema's field names, as in "disk[2].depth" or
// "limits.handshakes".
struct ConfigProblem {
  std::string key;
  std::string text;
};

// Fills in what has a default (the NBD door if no door is asked for) and checks
// everything that can be known without opening a disk: ranges, names, duplicates, references,
// cycles, nesting, plain TCP beyond loopback. The first problem, or nothing.
std::optional<ConfigProblem> CompleteAndCheck(Config& config);

// Reads, completes and checks a file: JSON if its first character that is no blank is '{', else
// textproto. Errors are one line: `FILE:LINE: key: what is wrong, and the cure` (JSON: `FILE: key:
// ...`). Blocks; main thread.
absl::StatusOr<Config> LoadConfig(const std::string& file);

// The same for a text at hand; `file` only names it in errors.
absl::StatusOr<Config> ParseConfig(const std::string& file, const std::string& text);

// Disks, volumes and exports as textproto, and back, unchecked: what is kept of those made at run
// time. What is not said anew by the text has its default.
std::string RenderParts(const Config& config);
absl::StatusOr<Config> ParseParts(const std::string& file, const std::string& text);

// The names of config.proto's numbers and strings that need a look of their own: "0660" → 0660.
absl::StatusOr<mode_t> ParseSocketMode(absl::string_view text);

}  // namespace sluice
