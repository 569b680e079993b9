// SPDX-License-Identifier: Apache-2.0
// How options are declared, and values read.
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/cli/tree.h"
#include "core/size.h"

namespace sluice::cli {

absl::Status Wrong(absl::string_view flag, absl::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat(flag, ": ", text));
}

absl::Status TakeTime(absl::string_view flag, absl::string_view text, uint64_t& out_ns) {
  absl::Duration duration;
  if (!absl::ParseDuration(text, &duration) || duration < absl::ZeroDuration() ||
      duration > absl::Hours(24 * 365)) {
    return Wrong(flag, "write 500ms, 10s or 2m");
  }
  out_ns = static_cast<uint64_t>(absl::ToInt64Nanoseconds(duration));
  return absl::OkStatus();
}

absl::Status TakeSize(absl::string_view flag, std::string text, uint64_t& out_bytes) {
  for (char& c : text) {
    if (absl::StrContains("kmgt", absl::string_view(&c, 1))) c = static_cast<char>(c - 'a' + 'A');
  }
  const auto size = ParseSize(text);
  if (!size.ok()) return Wrong(flag, size.status().message());
  out_bytes = *size;
  return absl::OkStatus();
}

CLI::Option* AddText(CLI::App& app, const char* name, const char* shape, const char* help,
                     std::function<void(const std::string&)> set) {
  return app.add_option_function<std::string>(name, set, help)->option_text(shape);
}

CLI::Option* AddSize(CLI::App& app, const char* name, const char* shape, const char* help,
                     std::function<void(uint64_t)> set) {
  return AddText(app, name, shape, help, [name, set](const std::string& text) {
    uint64_t bytes = 0;
    const absl::Status status = TakeSize(name, text, bytes);
    if (!status.ok()) throw CLI::ValidationError(std::string(status.message()));
    set(bytes);
  });
}

CLI::Option* AddNumber(CLI::App& app, const char* name, const char* shape, const char* help,
                       uint64_t least, uint64_t most, std::function<void(uint64_t)> set) {
  return AddText(app, name, shape, help, [=](const std::string& text) {
    uint64_t number = 0;
    if (!absl::SimpleAtoi(text, &number) || number < least || number > most) {
      throw CLI::ValidationError(absl::StrCat(name, ": give ", least, " to ", most));
    }
    set(number);
  });
}

CLI::Option* AddPlace(CLI::App& app, const char* name, const char* help,
                      std::function<void(const std::string&)> set) {
  return app.add_option_function<std::string>(name, set, help)->required();
}

std::shared_ptr<bool> AddJson(CLI::App& app) {
  auto json = std::make_shared<bool>(false);
  app.add_flag_callback(
      "--json", [json] { *json = true; }, "print JSON instead of text");
  return json;
}

}  // namespace sluice::cli
