// SPDX-License-Identifier: Apache-2.0
// `sluice detach` and `sluice attached`.
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "client/attach/commands.h"
#include "client/attach/device.h"
#include "client/attach/netlink.h"
#include "client/attach/record.h"
#include "client/command/text.h"

namespace sluice::attach {
namespace {

constexpr absl::Duration kDetachLimit = absl::Seconds(30);

int Failed(const std::string& text) {
  std::fprintf(stderr, "sluice: %s\n", text.c_str());
  return 1;
}

// The keeper detaches; awaits that it has ended. One that ended in order has taken its record
// along.
absl::Status AskKeeper(uint32_t index, const Record& keeper, bool force) {
  if (kill(keeper.pid, force ? SIGQUIT : SIGTERM) != 0 && errno != ESRCH) {
    return absl::PermissionDeniedError(absl::StrCat("cannot tell the keeper, process ", keeper.pid,
                                                    ": ", std::strerror(errno),
                                                    ": run it as root"));
  }
  const absl::Time until = absl::Now() + kDetachLimit;
  while (FindKeeper(index, /*clean=*/false)) {
    if (absl::Now() >= until) {
      return absl::UnavailableError(
          absl::StrCat(DevicePath(index), ": the keeper, process ", keeper.pid,
                       ", has not detached it yet; is it in use? --force does not wait"));
    }
    absl::SleepFor(absl::Milliseconds(20));
  }
  return absl::OkStatus();
}

// Whoever uses the device must not lose it unasked.
absl::Status CheckFree(NetlinkKernel& kernel, uint32_t index, bool force) {
  if (force || !kernel.InUse(index)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(DevicePath(index),
                                                    " is in use: unmount it first (`findmnt` shows "
                                                    "where), or give --force: whoever uses it "
                                                    "loses what is not written yet"));
}

// The device's keeper, which lived when `before` was seen, has left its record and the device.
bool WasKilled(const DeviceView& before) {
  const std::vector<uint32_t> recorded = RecordedDevices();
  const DeviceView now = LookAtDevice(before.index);
  return std::find(recorded.begin(), recorded.end(), before.index) != recorded.end() &&
         now.attached && now.identifier == before.identifier;
}

struct Row {
  DeviceView view;
  std::optional<Record> keeper;
  std::vector<std::string> mounts;

  std::string State() const { return keeper ? keeper->state : "no keeper"; }
  // What it is attached to, as far as anybody knows.
  std::string Target() const {
    if (keeper) return keeper->uri;
    return absl::StartsWith(view.identifier, "sluice ") ? view.identifier.substr(7) : "";
  }
};

// Where the device or a partition of it is mounted.
std::vector<std::string> MountsOf(uint32_t index) {
  std::vector<std::string> mounts;
  std::ifstream file("/proc/self/mounts");
  const std::string path = DevicePath(index);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string source;
    std::string target;
    words >> source >> target;
    if (source == path || absl::StartsWith(source, path + "p")) mounts.push_back(target);
  }
  return mounts;
}

std::vector<Row> Rows() {
  std::set<uint32_t> indices;
  for (const DeviceView& view : AttachedDevices()) indices.insert(view.index);
  for (const uint32_t index : RecordedDevices()) indices.insert(index);
  std::vector<Row> rows;
  for (const uint32_t index : indices) {
    Row row{.view = LookAtDevice(index), .keeper = std::nullopt, .mounts = MountsOf(index)};
    // What a dead keeper has left helps its successor, as long as the device is there.
    row.keeper = FindKeeper(index, /*clean=*/!row.view.attached);
    if (row.view.attached || row.keeper) rows.push_back(std::move(row));
  }
  return rows;
}

std::string JsonOf(const Row& row) {
  std::vector<std::string> mounts;
  for (const std::string& mount : row.mounts) mounts.push_back(command::JsonText(mount));
  return absl::StrFormat(
      "{\"device\": %s, \"size_bytes\": %d, \"block_bytes\": %d, \"read_only\": %s, "
      "\"state\": %s, \"uri\": %s, \"keeper\": %s, \"connections\": %s, "
      "\"live_connections\": %s, \"mounts\": [%s]}",
      command::JsonText(DevicePath(row.view.index)), row.view.size_bytes, row.view.block_bytes,
      row.view.read_only ? "true" : "false", command::JsonText(row.State()),
      command::JsonText(row.Target()), row.keeper ? absl::StrCat(row.keeper->pid) : "null",
      row.keeper ? absl::StrCat(row.keeper->connections) : "null",
      row.keeper ? absl::StrCat(row.keeper->live_connections) : "null",
      absl::StrJoin(mounts, ", "));
}

std::string LineOf(const Row& row) {
  const std::string connections =
      row.keeper ? absl::StrCat(row.keeper->live_connections, "/", row.keeper->connections) : "?";
  const std::string state = absl::StrCat(row.State(), row.view.read_only ? ", read-only" : "");
  return absl::StrFormat("%-12s %-11s %-12s %-14s %-8s %-16s %s\n", DevicePath(row.view.index),
                         command::SizeText(row.view.size_bytes), connections, state,
                         row.keeper ? absl::StrCat(row.keeper->pid) : "-",
                         row.mounts.empty() ? "-" : absl::StrJoin(row.mounts, ","),
                         row.Target().empty() ? "?" : row.Target());
}

}  // namespace

int Detach(const Options& options) {
  const auto index = ParseDevice(options.device);
  if (!index.ok()) return Failed(std::string(index.status().message()));
  const auto kernel = NetlinkKernel::Open();
  if (!kernel.ok()) return Failed(std::string(kernel.status().message()));
  const auto keeper = FindKeeper(*index, /*clean=*/false);
  const DeviceView view = LookAtDevice(*index);
  if (!keeper && !view.attached) {
    return Failed(absl::StrCat(DevicePath(*index),
                               " is not attached: `sluice attached` lists the devices that are"));
  }
  if (absl::Status s = CheckFree(**kernel, *index, options.force); !s.ok()) {
    return Failed(std::string(s.message()));
  }
  if (keeper) {
    if (absl::Status s = AskKeeper(*index, *keeper, options.force); !s.ok()) {
      return Failed(std::string(s.message()));
    }
  }
  if (!keeper || WasKilled(view)) {
    absl::Status s = CheckFree(**kernel, *index, options.force);
    if (s.ok()) s = (*kernel)->Disconnect(*index);
    if (!s.ok()) return Failed(std::string(s.message()));
  }
  FindKeeper(*index, /*clean=*/true);
  return 0;
}

int Attached(const Options& options) {
  const std::vector<Row> rows = Rows();
  if (options.json) {
    std::vector<std::string> objects;
    for (const Row& row : rows) objects.push_back(JsonOf(row));
    std::printf("[%s]\n", absl::StrJoin(objects, ",\n ").c_str());
    return 0;
  }
  std::printf("%-12s %-11s %-12s %-14s %-8s %-16s %s\n", "DEVICE", "SIZE", "CONNECTIONS", "STATE",
              "KEEPER", "MOUNTED ON", "EXPORT");
  for (const Row& row : rows) std::fputs(LineOf(row).c_str(), stdout);
  return 0;
}

}  // namespace sluice::attach
