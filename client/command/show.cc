// SPDX-License-Identifier: Apache-2.0
// `sluice stat`, `sluice ls` and `sluice map`: what there is, as a table or as JSON.
#include <cstdio>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/command/commands.h"
#include "client/command/endpoint.h"
#include "client/command/text.h"
#include "client/control/describe.h"
#include "client/nbd_connection.h"
#include "client/uri.h"
#include "proto/nbd.h"
#include "sluice/client.h"

namespace sluice::command {
namespace {

constexpr int kConnectTimeoutS = 30;

std::vector<std::string> AbilitiesOf(const VolumeInfo& info) {
  std::vector<std::string> abilities;
  if (info.read_only) abilities.push_back("read-only");
  if (info.can_flush) abilities.push_back("flush");
  if (info.can_fua) abilities.push_back("fua");
  if (info.can_discard) abilities.push_back("discard");
  if (info.can_write_zeroes) abilities.push_back("write-zeroes");
  if (info.can_tell_extents) abilities.push_back("extents");
  if (info.rotational) abilities.push_back("rotational");
  return abilities;
}

std::string JsonBool(bool value) { return value ? "true" : "false"; }

void Print(const std::string& text) { std::fputs(text.c_str(), stdout); }

const char* StateName(const Extent& extent) {
  if (extent.zero) return extent.hole ? "hole" : "zero";
  return extent.hole ? "unmapped" : "data";
}

void Tell(const Options& options, const VolumeInfo& info) {
  if (options.json) {
    std::vector<std::string> abilities = AbilitiesOf(info);
    for (std::string& ability : abilities) ability = JsonText(ability);
    Print(absl::StrFormat(
        "{\"uri\": %s, \"size_bytes\": %d, \"block_bytes\": %d, \"preferred_bytes\": %d, "
        "\"max_transfer_bytes\": %d, \"multiple_connections\": %s, \"abilities\": [%s]}\n",
        JsonText(options.source), info.size_bytes, info.block_bytes, info.preferred_bytes,
        info.max_transfer_bytes, JsonBool(info.connections > 1), absl::StrJoin(abilities, ", ")));
    return;
  }
  Print(absl::StrFormat("%-16s %s\n%-16s %d (%s)\n%-16s %d\n%-16s %d\n%-16s %s\n%-16s %s\n", "uri",
                        options.source, "size", info.size_bytes, SizeText(info.size_bytes), "block",
                        info.block_bytes, "preferred block", info.preferred_bytes, "connections",
                        info.connections > 1 ? "several" : "one", "can",
                        absl::StrJoin(AbilitiesOf(info), ", ")));
}

// Asked for without the SDK, to which a volume that is opened to be read is read-only.
int StatSluice(const Options& options) {
  const auto uri = ParseSluiceUri(options.source);
  if (!uri.ok()) {
    return Failed(options.source,
                  Status(StatusCode::kInvalidArgument, std::string(uri.status().message())));
  }
  control::ServerOptions server = options.server;
  server.address = control::AddressOf(*uri);
  const auto link = control::Link::Open(server);
  if (!link.ok()) return Failed(options.source, link.status());
  const auto info = control::DescribeExport(*link, uri->export_name);
  if (!info.ok()) return Failed(options.source, info.status());
  Tell(options, *info);
  return 0;
}

}  // namespace

int Stat(const Options& options) {
  if (IsSluiceUri(options.source)) return StatSluice(options);
  const auto client = Client::Create();
  if (!client.ok()) return Failed("start", client.status());
  // Two, to see whether the server takes several.
  const auto volume = client->Open(options.source, {.connections = 2});
  if (!volume.ok()) return Failed(options.source, volume.status());
  Tell(options, volume->info());
  return 0;
}

int List(const Options& options) {
  const auto uri = ParseNbdUri(options.source);
  if (!uri.ok()) {
    std::fprintf(stderr, "sluice: %s\n", std::string(uri.status().message()).c_str());
    return 1;
  }
  const auto exports = ListNbd(*uri, kConnectTimeoutS);
  if (!exports.ok()) {
    std::fprintf(stderr, "sluice: %s\n", std::string(exports.status().message()).c_str());
    return 1;
  }
  if (options.json) {
    std::vector<std::string> rows;
    for (const NbdExport& found : *exports) {
      rows.push_back(absl::StrFormat(
          "{\"name\": %s, \"size_bytes\": %s, \"read_only\": %s, \"description\": %s}",
          JsonText(found.name), found.size_bytes ? absl::StrCat(*found.size_bytes) : "null",
          JsonBool((found.flags & nbd::kReadOnly) != 0), JsonText(found.description)));
    }
    Print(absl::StrCat("[", absl::StrJoin(rows, ",\n "), "]\n"));
    return 0;
  }
  Print(absl::StrFormat("%-24s %12s  %-4s %s\n", "NAME", "SIZE", "MODE", "DESCRIPTION"));
  for (const NbdExport& found : *exports) {
    const char* const mode = (found.flags & nbd::kReadOnly) != 0 ? "ro" : "rw";
    Print(absl::StrFormat("%-24s %12s  %-4s %s\n",
                          found.name.empty() ? "\"\"" : absl::Utf8SafeCHexEscape(found.name),
                          found.size_bytes ? SizeText(*found.size_bytes) : "refused", mode,
                          absl::Utf8SafeCHexEscape(found.description)));
  }
  return 0;
}

int Map(const Options& options) {
  const auto client = Client::Create();
  if (!client.ok()) return Failed("start", client.status());
  const auto volume = OpenToRead(*client, options.source, options);
  if (!volume.ok()) return Failed(options.source, volume.status());
  const uint64_t size = volume->info().size_bytes;
  const uint64_t rest = size - std::min(size, options.offset);
  const auto extents = volume->Extents(options.offset, options.length.value_or(rest));
  if (extents.status().code() == StatusCode::kUnsupported) {
    std::fprintf(stderr,
                 "sluice: %s: the server does not tell which parts are data: it has no "
                 "base:allocation\n",
                 options.source.c_str());
    return 1;
  }
  if (!extents.ok()) return Failed(options.source, extents.status());
  if (options.json) {
    std::vector<std::string> rows;
    for (const Extent& extent : *extents) {
      rows.push_back(absl::StrFormat("{\"offset\": %d, \"length\": %d, \"hole\": %s, \"zero\": %s}",
                                     extent.offset, extent.length, JsonBool(extent.hole),
                                     JsonBool(extent.zero)));
    }
    Print(absl::StrCat("[", absl::StrJoin(rows, ",\n "), "]\n"));
    return 0;
  }
  Print(absl::StrFormat("%16s %16s  %s\n", "OFFSET", "LENGTH", "STATE"));
  for (const Extent& extent : *extents) {
    Print(absl::StrFormat("%16d %16d  %s\n", extent.offset, extent.length, StateName(extent)));
  }
  return 0;
}

}  // namespace sluice::command
