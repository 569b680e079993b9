// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "server/config.h"
#include "server/text.h"

namespace sluice {
namespace {

using Problem = std::optional<ConfigProblem>;

constexpr size_t kMaxEntries = 1024;
constexpr size_t kMaxDoors = 64;
constexpr size_t kMaxLegs = 64;
constexpr int kMaxDepth = 4;
constexpr uint64_t kMaxBytes = uint64_t{1} << 62;
constexpr uint64_t kCylinderMax = uint64_t{1} << 40;
constexpr uint64_t kMinChunk = 64 * kKiB;
constexpr uint64_t kMaxChunk = kGiB;

Problem Wrong(std::string key, std::string text) {
  return ConfigProblem{std::move(key), std::move(text)};
}

Problem CheckRange(const std::string& key, uint64_t value, uint64_t low, uint64_t high) {
  if (value >= low && value <= high) return {};
  return Wrong(key, absl::StrCat(value, " is out of range: give ", low, " to ", high));
}

Problem CheckCount(const std::string& key, size_t count, size_t most) {
  if (count <= most) return {};
  return Wrong(absl::StrCat(key, "[", most, "]"), absl::StrCat("too many: at most ", most));
}

bool IsName(const std::string& name) {
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '-';
  });
}

bool IsStrategy(const std::string& name) {
  return name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
           return absl::ascii_islower(static_cast<unsigned char>(c)) ||
                  absl::ascii_isdigit(static_cast<unsigned char>(c)) || c == '_';
         });
}

// `refused`: why plain TCP at this address is not served without insecure_tcp; empty: it is.
template <typename Door>
Problem CheckDoor(const std::string& block, const Door& door,
                  std::string (*refused)(const Address& address)) {
  if (auto p = CheckCount(block + ".listen", door.listen.size(), kMaxDoors)) return p;
  for (size_t i = 0; i < door.listen.size(); ++i) {
    const std::string key = absl::StrCat(block, ".listen[", i, "]");
    const Address& address = door.listen[i];
    const std::string why = door.insecure_tcp ? "" : refused(address);
    if (!why.empty()) return Wrong(key, why);
    for (size_t j = 0; j < i; ++j) {
      const bool any_port = address.kind == Address::Kind::kTcp && address.port == 0;
      if (door.listen[j] == address && !any_port) {
        return Wrong(key, absl::StrCat(address.ToString(), " is there twice: remove one"));
      }
    }
  }
  if ((door.socket_mode & ~mode_t{0777}) != 0 || (door.socket_mode & 0600) != 0600) {
    return Wrong(block + ".socket_mode", "give octal permissions from 0600 to 0777");
  }
  return {};
}

std::string RefusedForNbd(const Address& address) {
  if (address.IsLocal()) return "";
  return absl::StrCat(address.ToString(),
                      " is plain TCP beyond loopback: whoever reaches it owns the data; listen on "
                      "127.0.0.1, [::1] or unix:PATH, or allow it with insecure_tcp: true "
                      "(--insecure-tcp)");
}

// Without TLS.
std::string RefusedForGrpc(const Address& address) {
  if (address.kind == Address::Kind::kUnix) return "";
  return absl::StrCat(address.ToString(),
                      " is plain TCP: whoever reaches it owns the data; give tls (--tls-cert, "
                      "--tls-key, --tls-client-ca), listen on unix:PATH, or allow it with "
                      "insecure_tcp: true (--insecure-tcp)");
}

std::string RefusedForNobody(const Address&) { return ""; }

bool IsCallerName(const std::string& name) {
  return !name.empty() && name.size() <= 128 && IsPlainText(name);
}

Problem CheckCallerNames(const std::string& key, const std::vector<std::string>& names) {
  if (auto p = CheckCount(key, names.size(), kMaxEntries)) return p;
  for (size_t i = 0; i < names.size(); ++i) {
    if (IsCallerName(names[i])) continue;
    return Wrong(absl::StrCat(key, "[", i, "]"),
                 absl::StrCat(Quote(names[i]),
                              " is no certificate's name: give 1 to 128 bytes of UTF-8 without "
                              "control characters"));
  }
  return {};
}

Problem CheckTls(const GrpcConfig& grpc) {
  const TlsConfig& tls = *grpc.tls;
  const struct {
    const char* key;
    const std::string& path;
    const char* what;
  } files[] = {
      {"grpc.tls.cert", tls.cert, "the server's certificate in PEM"},
      {"grpc.tls.key", tls.key, "the private key of that certificate in PEM"},
      {"grpc.tls.client_ca", tls.client_ca, "the authority of the clients' certificates in PEM"},
  };
  for (const auto& file : files) {
    if (!file.path.empty() && file.path.find('\0') == std::string::npos) continue;
    return Wrong(file.key, absl::StrCat("is missing: name a file with ", file.what));
  }
  if (grpc.insecure_tcp) {
    return Wrong("grpc.insecure_tcp",
                 "goes against tls, which serves every address of TCP: remove one");
  }
  if (std::none_of(grpc.listen.begin(), grpc.listen.end(),
                   [](const Address& a) { return a.kind == Address::Kind::kTcp; })) {
    return Wrong("grpc.tls",
                 "serves nobody: listen on HOST:PORT too (port 10810 is ours), or remove it");
  }
  return CheckCallerNames("grpc.tls.admin", tls.admin);
}

std::string RefusedForHttp(const Address& address) {
  if (address.IsLocal()) return "";
  return absl::StrCat(address.ToString(),
                      " is plain TCP beyond loopback: whoever reaches it learns what is served and "
                      "how much; listen on 127.0.0.1, [::1] or unix:PATH, or allow it with "
                      "insecure_tcp: true (--insecure-tcp)");
}

Problem CheckDoors(Config& config) {
  if (config.nbd.listen.empty() && config.grpc.listen.empty()) {
    config.nbd.listen.push_back(*ParseAddress(kNbdAddress));
  }
  if (auto p = CheckDoor("nbd", config.nbd, RefusedForNbd)) return p;
  const auto refused = config.grpc.tls.has_value() ? RefusedForNobody : RefusedForGrpc;
  if (auto p = CheckDoor("grpc", config.grpc, refused)) return p;
  if (config.grpc.tls.has_value()) {
    if (auto p = CheckTls(config.grpc)) return p;
  }
  if (auto p =
          CheckRange("grpc.connections_per_host", config.grpc.connections_per_host, 1, 10000)) {
    return p;
  }
  if (auto p = CheckDoor("http", config.http, RefusedForHttp)) return p;
  if (auto p = CheckRange("grpc.connections", config.grpc.connections, 1, 10000)) return p;
  if (auto p = CheckRange("grpc.lease_s", config.grpc.lease_s, 1, 3600)) return p;
  return {};
}

Problem CheckDisk(const std::string& key, const DiskSpec& disk) {
  if (disk.kind == DiskSpec::Kind::kPath) {
    if (disk.path.empty()) return Wrong(key + ".path", "is empty: name a file or block device");
    if (disk.path.size() > 4095 || disk.path.find('\0') != std::string::npos) {
      return Wrong(key + ".path", "is no path: at most 4095 bytes, no NUL");
    }
    if (disk.size_bytes > kMaxBytes) {
      return Wrong(key + ".create_bytes", "is out of range: give at most 2^62");
    }
  }
  if (!IsStrategy(disk.bufq)) {
    return Wrong(
        key + ".bufq",
        absl::StrCat(Quote(disk.bufq), " is no strategy's name: see sluiced --list-strategies"));
  }
  if (disk.depth != 0) {
    if (auto p = CheckRange(key + ".depth", disk.depth, 1, 1024)) return p;
  }
  if (disk.cylinder_bytes != 0) {
    if (auto p = CheckRange(key + ".cylinder_bytes", disk.cylinder_bytes, 512, kCylinderMax)) {
      return p;
    }
    if (!IsPowerOfTwo(disk.cylinder_bytes)) {
      return Wrong(key + ".cylinder_bytes",
                   absl::StrCat(disk.cylinder_bytes, " is no power of two: give 1048576, say"));
    }
  }
  if (disk.block_size != 0) {
    if (auto p = CheckRange(key + ".block_size_bytes", disk.block_size, 512, 65536)) return p;
    if (!IsPowerOfTwo(disk.block_size)) {
      return Wrong(key + ".block_size_bytes",
                   absl::StrCat(disk.block_size, " is no power of two: give 512, 1024 ... 65536"));
    }
  }
  if (disk.io_timeout_s != 0) {
    if (auto p = CheckRange(key + ".io_timeout_s", disk.io_timeout_s, 1, 86400)) return p;
  }
  const uint64_t block = disk.block_size == 0 ? kSector : disk.block_size;
  const bool sized = disk.kind != DiskSpec::Kind::kPath || disk.size_bytes != 0;
  if (sized) {
    const char* field = disk.kind == DiskSpec::Kind::kPath     ? ".create_bytes"
                        : disk.kind == DiskSpec::Kind::kMemory ? ".memory_bytes"
                                                               : ".null_bytes";
    if (auto p = CheckRange(key + field, disk.size_bytes, block, kMaxBytes)) return p;
    if (disk.size_bytes % block != 0) {
      return Wrong(key + field,
                   absl::StrCat(disk.size_bytes,
                                " is no multiple of the block: give a multiple of ", block));
    }
  }
  return {};
}

Problem CheckVolume(const std::string& key, const VolumeSpec& volume) {
  switch (volume.kind) {
    case VolumeSpec::Kind::kSlice:
      if (volume.offset_bytes % kSector != 0 || volume.offset_bytes > kMaxBytes) {
        return Wrong(key + ".slice.offset_bytes", "give a multiple of 512, at most 2^62");
      }
      if (volume.size_bytes == 0 || volume.size_bytes % kSector != 0 ||
          volume.size_bytes > kMaxBytes) {
        return Wrong(key + ".slice.size_bytes", "give a multiple of 512, 512 to 2^62");
      }
      return {};
    case VolumeSpec::Kind::kStripe:
      if (!IsPowerOfTwo(volume.chunk_bytes) || volume.chunk_bytes < kMinChunk ||
          volume.chunk_bytes > kMaxChunk) {
        return Wrong(key + ".stripe.chunk_bytes",
                     absl::StrCat(volume.chunk_bytes,
                                  " is no chunk: give a power of two, 65536 to 1073741824"));
      }
      break;
    case VolumeSpec::Kind::kConcat:
      break;
  }
  const std::string legs =
      key + (volume.kind == VolumeSpec::Kind::kStripe ? ".stripe" : ".concat") + ".leg";
  if (volume.legs.empty()) return Wrong(legs, "is missing: name 1 to 64 disks or volumes");
  if (auto p = CheckCount(legs, volume.legs.size(), kMaxLegs)) return p;
  std::set<std::string> seen;
  for (size_t i = 0; i < volume.legs.size(); ++i) {
    if (!seen.insert(volume.legs[i]).second) {
      return Wrong(absl::StrCat(legs, "[", i, "]"),
                   absl::StrCat(Quote(volume.legs[i]), " is a leg twice: remove one"));
    }
  }
  return {};
}

std::string LegKey(size_t volume, const VolumeSpec& config, size_t leg) {
  switch (config.kind) {
    case VolumeSpec::Kind::kSlice:
      return absl::StrCat("volume[", volume, "].slice.of");
    case VolumeSpec::Kind::kConcat:
      return absl::StrCat("volume[", volume, "].concat.leg[", leg, "]");
    case VolumeSpec::Kind::kStripe:
      return absl::StrCat("volume[", volume, "].stripe.leg[", leg, "]");
  }
  return {};
}

// Names of disks and volumes, and how deep the volumes nest.
class Names {
 public:
  Problem Add(const Config& config) {
    for (size_t i = 0; i < config.topology.disks.size(); ++i) {
      if (auto p = Declare(absl::StrCat("disk[", i, "].name"), config.topology.disks[i].name, -1))
        return p;
    }
    for (size_t i = 0; i < config.topology.volumes.size(); ++i) {
      if (auto p = Declare(absl::StrCat("volume[", i, "].name"), config.topology.volumes[i].name,
                           static_cast<int>(i))) {
        return p;
      }
    }
    for (size_t i = 0; i < config.topology.volumes.size(); ++i) {
      for (size_t leg = 0; leg < config.topology.volumes[i].legs.size(); ++leg) {
        if (auto p = CheckKnown(LegKey(i, config.topology.volumes[i], leg),
                                config.topology.volumes[i].legs[leg])) {
          return p;
        }
      }
    }
    depth_.assign(config.topology.volumes.size(), 0);
    for (size_t i = 0; i < config.topology.volumes.size(); ++i) {
      if (DepthOf(config, i, 1) > kMaxDepth) {
        return Wrong(absl::StrCat("volume[", i, "].name"),
                     absl::StrCat(Quote(config.topology.volumes[i].name), " nests deeper than ",
                                  kMaxDepth, " volumes or contains itself: flatten it"));
      }
    }
    return {};
  }

  Problem CheckKnown(const std::string& key, const std::string& name) const {
    if (volume_of_.contains(name)) return {};
    return Wrong(
        key, name.empty()
                 ? "is missing: name a disk or volume"
                 : absl::StrCat(Quote(name), " is no disk or volume: declare one of that name"));
  }

 private:
  Problem Declare(const std::string& key, const std::string& name, int volume) {
    if (!IsName(name)) {
      return Wrong(key,
                   absl::StrCat(Quote(name), " is no name: give 1 to 64 of A-Z a-z 0-9 _ . -"));
    }
    if (!volume_of_.emplace(name, volume).second) {
      return Wrong(key,
                   absl::StrCat(Quote(name), " is the name of two disks or volumes: rename one"));
    }
    return {};
  }

  // How many volumes deep `volume` is, itself included; more than kMaxDepth as soon as that is
  // known, which also ends cycles.
  int DepthOf(const Config& config, size_t volume, int level) {
    if (level > kMaxDepth) return level;
    if (depth_[volume] != 0) return depth_[volume];
    int deepest = 0;
    for (const std::string& leg : config.topology.volumes[volume].legs) {
      const int child = volume_of_.at(leg);
      if (child < 0) continue;
      deepest = std::max(deepest, DepthOf(config, static_cast<size_t>(child), level + 1));
      if (deepest + level > kMaxDepth) return kMaxDepth + 1;
    }
    return depth_[volume] = deepest + 1;
  }

  std::map<std::string, int> volume_of_;  // -1: a disk
  std::vector<int> depth_;                // 0: not known yet
};

Problem CheckExports(const Config& config, const Names& names) {
  if (config.exports.empty())
    return Wrong("export", "is missing: nothing would be served; add one");
  std::set<std::string> seen;
  for (size_t i = 0; i < config.exports.size(); ++i) {
    const ExportConfig& e = config.exports[i];
    const std::string key = absl::StrCat("export[", i, "]");
    if (!IsPlainText(e.name) || e.name.empty() || e.name.size() > 4096) {
      return Wrong(key + ".name",
                   absl::StrCat(Quote(e.name),
                                " is no export name: give 1 to 4096 bytes of UTF-8 without "
                                "control characters"));
    }
    if (!seen.insert(e.name).second) {
      return Wrong(key + ".name", absl::StrCat(Quote(e.name), " is exported twice: rename one"));
    }
    if (!IsPlainText(e.description) || e.description.size() > 4096) {
      return Wrong(key + ".description",
                   "give at most 4096 bytes of UTF-8 without control characters");
    }
    if (auto p = names.CheckKnown(key + ".volume", e.volume)) return p;
    if (auto p = CheckRange(key + ".priority", e.priority, 0, 2)) return p;
    if (auto p = CheckRange(key + ".weight", e.weight, 1, 1000)) return p;
    if (auto p = CheckCallerNames(key + ".allow", e.allow)) return p;
  }
  if (!config.nbd.default_export.empty() && !seen.contains(config.nbd.default_export)) {
    return Wrong("nbd.default_export",
                 absl::StrCat(Quote(config.nbd.default_export), " is no export: name one"));
  }
  return {};
}

Problem CheckLimits(const LimitsConfig& limits) {
  const struct {
    const char* key;
    uint64_t value, low, high;
  } ranges[] = {
      {"limits.handshakes", limits.handshakes, 1, 10000},
      {"limits.connections", limits.connections, 1, 100000},
      {"limits.handshake_timeout_s", limits.handshake_timeout_s, 1, 3600},
      {"limits.payload_timeout_s", limits.payload_timeout_s, 1, 3600},
      {"limits.idle_timeout_s", limits.idle_timeout_s, 0, 31536000},
      {"limits.io_timeout_s", limits.io_timeout_s, 1, 86400},
      {"limits.drain_timeout_s", limits.drain_timeout_s, 1, 3600},
      {"limits.requests_per_connection", limits.requests_per_connection, 1, 4096},
      {"limits.pool_bytes", limits.pool_bytes, 64 * kMiB, uint64_t{1} << 40},
  };
  for (const auto& range : ranges) {
    if (auto p = CheckRange(range.key, range.value, range.low, range.high)) return p;
  }
  return {};
}

Problem CheckFolder(const std::string& key, const std::string& path) {
  const bool good =
      path.starts_with('/') && path.size() <= 4095 && path.find('\0') == std::string::npos;
  if (good) return {};
  return Wrong(key,
               absl::StrCat(Quote(path),
                            " is no absolute folder: it begins with / and has at most 4095 bytes"));
}

// What only the whole arrangement shows: legs shared, slices that overlap, too many children.
Problem CheckArrangement(const TopologySpec& spec) {
  const absl::Status status = CheckTopology(spec);
  if (status.ok()) return {};
  absl::string_view text = status.message();
  for (size_t i = 0; i < spec.volumes.size(); ++i) {
    if (absl::ConsumePrefix(&text, absl::StrCat("volume \"", spec.volumes[i].name, "\": "))) {
      return Wrong(absl::StrCat("volume[", i, "]"), std::string(text));
    }
  }
  return Wrong("volume", std::string(text));
}

}  // namespace

Problem CompleteAndCheck(Config& config) {
  if (auto p = CheckDoors(config)) return p;
  if (config.topology.disks.empty())
    return Wrong("disk", "is missing: there is nothing to serve; add one");
  if (auto p = CheckCount("disk", config.topology.disks.size(), kMaxEntries)) return p;
  if (auto p = CheckCount("volume", config.topology.volumes.size(), kMaxEntries)) return p;
  if (auto p = CheckCount("export", config.exports.size(), kMaxEntries)) return p;
  for (size_t i = 0; i < config.topology.disks.size(); ++i) {
    if (auto p = CheckDisk(absl::StrCat("disk[", i, "]"), config.topology.disks[i])) return p;
  }
  for (size_t i = 0; i < config.topology.volumes.size(); ++i) {
    if (auto p = CheckVolume(absl::StrCat("volume[", i, "]"), config.topology.volumes[i])) return p;
  }
  Names names;
  if (auto p = names.Add(config)) return p;
  if (auto p = CheckExports(config, names)) return p;
  if (auto p = CheckLimits(config.limits)) return p;
  if (config.reactors != 0) {
    if (auto p = CheckRange("reactors", config.reactors, 1, 64)) return p;
  }
  if (auto p = CheckRange("poll_us", config.poll_us, 0, 1000)) return p;
  if (auto p = CheckCount("disk_roots", config.disk_roots.size(), 64)) return p;
  for (size_t i = 0; i < config.disk_roots.size(); ++i) {
    if (auto p = CheckFolder(absl::StrCat("disk_roots[", i, "]"), config.disk_roots[i])) return p;
  }
  if (!config.strategy_dir.empty()) {
    if (auto p = CheckFolder("strategy_dir", config.strategy_dir)) return p;
  }
  if (!config.state_dir.empty()) {
    if (auto p = CheckFolder("state_dir", config.state_dir)) return p;
  }
  return CheckArrangement(config.topology);
}

}  // namespace sluice
