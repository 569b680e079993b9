// SPDX-License-Identifier: Apache-2.0
#include "client/attach/device.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/units.h"

namespace sluice::attach {
namespace {

// The kernel's limit, a minor number of 20 bits; devices with partitions have fewer.
constexpr uint32_t kMaxIndex = (1U << 20) - 1;

std::string FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

uint64_t Number(const std::string& path) {
  uint64_t value = 0;
  return absl::SimpleAtoi(FirstLine(path), &value) ? value : 0;
}

}  // namespace

absl::StatusOr<uint32_t> ParseDevice(absl::string_view text) {
  absl::string_view rest = text;
  absl::ConsumePrefix(&rest, "/dev/");
  uint32_t index = 0;
  const bool digits = absl::ConsumePrefix(&rest, "nbd") && !rest.empty() &&
                      rest.find_first_not_of("0123456789") == absl::string_view::npos;
  if (!digits || !absl::SimpleAtoi(rest, &index) || index > kMaxIndex) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", absl::CHexEscape(text), "\" is no nbd device: write /dev/nbd0"));
  }
  return index;
}

std::string DevicePath(uint32_t index) { return absl::StrCat("/dev/nbd", index); }

DeviceView LookAtDevice(uint32_t index, const std::string& sys_block) {
  const std::string folder = absl::StrCat(sys_block, "/nbd", index, "/");
  DeviceView view{.index = index};
  std::error_code ignored;
  view.attached = std::filesystem::exists(folder + "pid", ignored);
  view.size_bytes = Number(folder + "size") * kSector;
  view.block_bytes = static_cast<uint32_t>(Number(folder + "queue/logical_block_size"));
  view.read_only = Number(folder + "ro") != 0;
  view.identifier = FirstLine(folder + "backend");
  return view;
}

std::vector<DeviceView> AttachedDevices(const std::string& sys_block) {
  std::vector<DeviceView> devices;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(sys_block, ignored)) {
    const auto index = ParseDevice(entry.path().filename().string());
    if (!index.ok()) continue;
    if (DeviceView view = LookAtDevice(*index, sys_block); view.attached) {
      devices.push_back(std::move(view));
    }
  }
  std::sort(devices.begin(), devices.end(),
            [](const DeviceView& a, const DeviceView& b) { return a.index < b.index; });
  return devices;
}

}  // namespace sluice::attach
