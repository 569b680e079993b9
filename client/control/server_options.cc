// SPDX-License-Identifier: Apache-2.0
#include "client/control/server_options.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

namespace sluice::control {
namespace {

// RFC 3986, 2.3, and the slash.
std::string Escaped(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool plain = absl::ascii_isalnum(byte) || absl::StrContains("-._~/", text.substr(i, 1));
    if (plain) {
      out.push_back(text[i]);
    } else {
      absl::StrAppendFormat(&out, "%%%02X", byte);
    }
  }
  return out;
}

}  // namespace

std::string AddressOf(const SluiceUri& uri) {
  if (uri.is_unix()) return absl::StrCat("unix:", uri.socket);
  const bool v6 = uri.host.find(':') != std::string::npos;
  return absl::StrCat(v6 ? "[" : "", uri.host, v6 ? "]" : "", ":", uri.port);
}

std::string UriOf(const std::string& address, const std::string& export_name) {
  absl::string_view path = address;
  if (absl::ConsumePrefix(&path, "unix:")) {
    return absl::StrCat("sluice+unix:///", Escaped(export_name), "?socket=", Escaped(path));
  }
  return absl::StrCat("sluice://", address, "/", Escaped(export_name));
}

}  // namespace sluice::control
