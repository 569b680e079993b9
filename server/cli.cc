// SPDX-License-Identifier: Apache-2.0
#include "server/cli.h"

#include <CLI/CLI.hpp>
#include <map>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/size.h"
#include "server/version.h"

namespace sluice {
namespace {

constexpr char kServedDisk[] = "disk";

// The words of the command line, as they were written.
struct Words {
  std::string config;
  bool check_config = false;
  bool list_strategies = false;

  std::string name = kServedDisk;
  std::vector<std::string> nbd, grpc, tls_admin;
  std::string http, tls_cert, tls_key, tls_client_ca, bufq, create, block_size, socket_mode,
      socket_owner, state_dir, target;
  bool buffered = false, readonly = false, insecure_tcp = false;
  uint32_t reactors = 0, poll_us = 100, drain_timeout_s = 30;
};

void DeclareTls(CLI::App& serve, Words& words) {
  serve
      .add_option("--tls-cert", words.tls_cert,
                  "the gRPC server's certificate, and its chain (PEM)")
      ->option_text("FILE");
  serve.add_option("--tls-key", words.tls_key, "its private key (PEM)")->option_text("FILE");
  serve
      .add_option("--tls-client-ca", words.tls_client_ca,
                  "who signs the certificates that clients must show (PEM)")
      ->option_text("FILE");
  serve
      .add_option("--tls-admin", words.tls_admin,
                  "name of a certificate that may use the control services; repeatable")
      ->option_text("NAME")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

void Declare(CLI::App& app, CLI::App& serve, Words& words) {
  app.set_version_flag("--version", absl::StrCat("sluiced ", kVersion));
  app.add_option("--config", words.config,
                 "serve what FILE (textproto or JSON of sluice.v1.Config) says")
      ->option_text("FILE");
  app.add_flag("--check-config", words.check_config, "check FILE and stop");
  app.add_flag("--list-strategies", words.list_strategies,
               "print the queueing strategies and stop");

  serve.add_option("--name", words.name, "the export's name; the empty name means it too")
      ->option_text("NAME [disk]");
  serve
      .add_option("--nbd", words.nbd,
                  "listen for NBD: HOST:PORT, [V6]:PORT or unix:PATH; repeatable")
      ->option_text("ADDR [127.0.0.1:10809]")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  serve
      .add_option("--grpc", words.grpc,
                  "listen for gRPC too: unix:PATH, or, with TLS, HOST:PORT; repeatable")
      ->option_text("ADDR")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  DeclareTls(serve, words);
  serve.add_option("--http", words.http, "serve /metrics, /healthz and /readyz at ADDR")
      ->option_text("ADDR");
  serve.add_option("--bufq", words.bufq, "queueing strategy (--list-strategies)")
      ->option_text("STRATEGY");
  serve.add_flag("--buffered", words.buffered, "through the page cache instead of O_DIRECT");
  serve.add_flag("--readonly", words.readonly, "refuse everything that writes");
  serve
      .add_option("--create", words.create,
                  "make a missing sparse file of SIZE; an existing one must have it")
      ->option_text("SIZE");
  serve.add_option("--block-size", words.block_size, "logical block, bytes: 512 to 65536")
      ->option_text("N");
  serve.add_option("--reactors", words.reactors, "threads that serve, 1 to 64")
      ->option_text("N [one per usable CPU]");
  serve
      .add_option("--poll-us", words.poll_us,
                  "look for the next request so long before sleeping, behind traffic; 0: never")
      ->option_text("N [100]");
  serve
      .add_option("--drain-timeout", words.drain_timeout_s,
                  "seconds that requests in flight have on SIGTERM")
      ->option_text("S [30]");
  serve.add_flag("--insecure-tcp", words.insecure_tcp,
                 "allow plain TCP: NBD and HTTP beyond loopback, gRPC without TLS at all");
  serve.add_option("--socket-mode", words.socket_mode, "permissions of unix sockets")
      ->option_text("MODE [0600]");
  serve.add_option("--socket-owner", words.socket_owner, "owner of unix sockets")
      ->option_text("USER:GROUP");
  serve
      .add_option("--state-dir", words.state_dir,
                  "absolute folder, of this server alone, for what must outlive it")
      ->option_text("PATH");
  serve.add_option("TARGET", words.target, "PATH (file or block device), memory:SIZE or null:SIZE")
      ->option_text("TARGET")
      ->required();
}

absl::Status Wrong(absl::string_view flag, absl::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat(flag, ": ", text));
}

absl::StatusOr<DiskSpec> DiskOf(const Words& words) {
  DiskSpec disk;
  disk.name = kServedDisk;
  disk.bufq = words.bufq;
  disk.buffered = words.buffered;
  disk.read_only = words.readonly;
  absl::string_view target = words.target;
  const bool memory = absl::ConsumePrefix(&target, "memory:");
  const bool null = !memory && absl::ConsumePrefix(&target, "null:");
  if (memory || null) {
    const auto size = ParseSize(target);
    if (!size.ok()) return Wrong("TARGET", size.status().message());
    disk.kind = memory ? DiskSpec::Kind::kMemory : DiskSpec::Kind::kNull;
    disk.size_bytes = *size;
    if (!words.create.empty()) return Wrong("--create", "goes with a PATH only: remove it");
  } else {
    disk.path = words.target;
    if (!words.create.empty()) {
      const auto size = ParseSize(words.create);
      if (!size.ok()) return Wrong("--create", size.status().message());
      if (*size == 0) return Wrong("--create", "0 is out of range: give at least one block");
      disk.size_bytes = *size;
    }
  }
  if (!words.block_size.empty()) {
    const auto size = ParseSize(words.block_size);
    if (!size.ok()) return Wrong("--block-size", size.status().message());
    if (*size < 512 || *size > 65536)
      return Wrong("--block-size", "give a power of two, 512 to 65536");
    disk.block_size = static_cast<uint32_t>(*size);
  }
  return disk;
}

// The flag that set what `key` names.
std::string FlagOf(const std::string& key) {
  static const std::map<std::string, std::string> kFlags = {
      {"disk[0].path", "TARGET"},
      {"disk[0].memory_bytes", "TARGET"},
      {"disk[0].null_bytes", "TARGET"},
      {"disk[0].create_bytes", "--create"},
      {"disk[0].bufq", "--bufq"},
      {"disk[0].block_size_bytes", "--block-size"},
      {"export[0].name", "--name"},
      {"limits.drain_timeout_s", "--drain-timeout"},
      {"nbd.socket_mode", "--socket-mode"},
      {"nbd.socket_owner", "--socket-owner"},
      {"grpc.tls", "--tls-cert"},
      {"grpc.tls.cert", "--tls-cert"},
      {"grpc.tls.key", "--tls-key"},
      {"grpc.tls.client_ca", "--tls-client-ca"},
      {"reactors", "--reactors"},
      {"state_dir", "--state-dir"},
      {"poll_us", "--poll-us"},
  };
  if (key.starts_with("nbd.listen")) return "--nbd";
  if (key.starts_with("grpc.listen")) return "--grpc";
  if (key.starts_with("grpc.tls.admin")) return "--tls-admin";
  if (key.starts_with("http.listen")) return "--http";
  const auto found = kFlags.find(key);
  return found == kFlags.end() ? key : found->second;
}

absl::Status AddressesOf(const char* flag, const std::vector<std::string>& texts,
                         std::vector<Address>& addresses) {
  for (const std::string& text : texts) {
    auto address = ParseAddress(text);
    if (!address.ok()) return Wrong(flag, address.status().message());
    addresses.push_back(*std::move(address));
  }
  return absl::OkStatus();
}

absl::StatusOr<Config> ConfigOf(const CLI::App& serve, const Words& words) {
  Config config;
  if (auto status = AddressesOf("--nbd", words.nbd, config.nbd.listen); !status.ok()) {
    return status;
  }
  if (auto status = AddressesOf("--grpc", words.grpc, config.grpc.listen); !status.ok()) {
    return status;
  }
  if (serve.count("--http") != 0) {
    auto status = AddressesOf("--http", {words.http}, config.http.listen);
    if (!status.ok()) return status;
  }
  const bool tls = serve.count("--tls-cert") + serve.count("--tls-key") +
                       serve.count("--tls-client-ca") + serve.count("--tls-admin") >
                   0;
  if (tls) {
    config.grpc.tls = {words.tls_cert, words.tls_key, words.tls_client_ca, words.tls_admin};
  }
  config.nbd.insecure_tcp = config.http.insecure_tcp = words.insecure_tcp;
  config.grpc.insecure_tcp = words.insecure_tcp && !tls;
  if (serve.count("--socket-mode") != 0) {
    const auto mode = ParseSocketMode(words.socket_mode);
    if (!mode.ok()) return Wrong("--socket-mode", mode.status().message());
    config.nbd.socket_mode = config.grpc.socket_mode = config.http.socket_mode = *mode;
  }
  config.nbd.socket_owner = config.grpc.socket_owner = config.http.socket_owner =
      words.socket_owner;
  config.state_dir = words.state_dir;
  if (serve.count("--reactors") != 0 && words.reactors == 0) {
    return Wrong("--reactors", "0 is out of range: give 1 to 64");
  }
  config.reactors = words.reactors;
  config.poll_us = words.poll_us;
  config.limits.drain_timeout_s = words.drain_timeout_s;
  auto disk = DiskOf(words);
  if (!disk.ok()) return disk.status();
  config.topology.disks.push_back(*std::move(disk));
  ExportConfig exported;
  exported.name = words.name;
  exported.volume = kServedDisk;
  exported.read_only = words.readonly;
  config.exports.push_back(std::move(exported));
  if (auto problem = CompleteAndCheck(config)) return Wrong(FlagOf(problem->key), problem->text);
  return config;
}

absl::StatusOr<Command> Interpret(const CLI::App& serve, const Words& words) {
  Command command;
  if (serve.parsed()) {
    if (!words.config.empty() || words.check_config || words.list_strategies) {
      return Wrong("serve",
                   "takes its own flags only: leave --config, --check-config and "
                   "--list-strategies away");
    }
    auto config = ConfigOf(serve, words);
    if (!config.ok()) return config.status();
    command.config = *std::move(config);
    return command;
  }
  if (words.list_strategies) {
    command.kind = Command::Kind::kListStrategies;
    return command;
  }
  if (words.config.empty()) {
    return absl::InvalidArgumentError(
        "nothing to serve: give --config FILE or serve TARGET (see --help)");
  }
  auto config = LoadConfig(words.config);
  if (!config.ok()) return config.status();
  command.kind = words.check_config ? Command::Kind::kCheckConfig : Command::Kind::kServe;
  command.config = *std::move(config);
  return command;
}

}  // namespace

absl::StatusOr<Command> ParseCommandLine(int argc, const char* const* argv) {
  CLI::App app{"Sluice: a network block device server", "sluiced"};
  CLI::App& serve = *app.add_subcommand("serve", "serve one TARGET without a config file");
  Words words;
  Declare(app, serve, words);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out;
    std::ostringstream err;
    const bool asked = app.exit(error, out, err) == 0;
    if (!asked) {
      return absl::InvalidArgumentError(absl::StrCat(error.what(), " (see --help)"));
    }
    Command command;
    command.kind = Command::Kind::kPrint;
    command.text = out.str();
    return command;
  }
  return Interpret(serve, words);
}

}  // namespace sluice
