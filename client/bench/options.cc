// SPDX-License-Identifier: Apache-2.0
#include "client/bench/options.h"

#include "absl/strings/str_cat.h"
#include "core/units.h"

namespace sluice::bench {
namespace {

absl::Status Wrong(absl::string_view flag, absl::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat(flag, ": ", text));
}

}  // namespace

const Mode* FindMode(absl::string_view name) {
  for (const Mode& mode : kModes) {
    if (mode.name == name) return &mode;
  }
  return nullptr;
}

absl::Status Check(const Options& options) {
  if (options.read_percent > 100) return Wrong("--read-percent", "give 0 to 100");
  if (options.block_size == 0 || options.block_size % kSector != 0 ||
      options.block_size > 64 * kMiB) {
    return Wrong("--block-size", "give a multiple of 512 up to 64M");
  }
  if (options.depth == 0 || options.depth > 4096) return Wrong("--depth", "give 1 to 4096");
  if (options.connections == 0 || options.connections > 1024) {
    return Wrong("--connections", "give 1 to 1024");
  }
  if (options.threads == 0 || options.threads > options.connections) {
    return Wrong("--threads", "give 1 to as many as there are connections");
  }
  if (IsSluiceUri(options.uri_text)) {
    if (options.structured) return Wrong("--structured", "belongs to NBD: leave it away");
    if (options.poll_ns > 0) return Wrong("--poll", "belongs to NBD: leave it away");
    if (options.connections > 64) return Wrong("--connections", "over gRPC give 1 to 64");
  }
  if (options.offset % kSector != 0) return Wrong("--offset", "give a multiple of 512");
  if (options.time_ns == 0 && options.requests == 0) {
    return Wrong("--time", "0 needs --requests, or the run has no end");
  }
  if (options.patience_ns == 0) return Wrong("--timeout", "give more than 0");
  if (options.changes() && !options.destroy) {
    return Wrong("--rw", absl::StrCat(options.mode.name,
                                      " overwrites what the export holds: say --destroy if that "
                                      "is meant"));
  }
  if (options.fua && !options.changes()) return Wrong("--fua", "goes with modes that write");
  if (options.verify && options.mode.change == nbd::Command::kTrim) {
    return Wrong("--verify", "what was trimmed reads as anything: use --rw zero");
  }
  if (options.verify && uint64_t{options.depth} * options.connections * options.block_size > kGiB) {
    return Wrong("--verify", "depth x connections x block size is at most 1G");
  }
  return absl::OkStatus();
}

}  // namespace sluice::bench
