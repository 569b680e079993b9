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

Status InvalidArgument(const char* text) { return Status(StatusCode::kInvalidArgument, text); }

}  // namespace

Status CheckSecurity(const SluiceUri& uri, const ServerOptions& options) {
  const bool tls = !options.tls_ca.empty() || !options.tls_cert.empty() || !options.tls_key.empty();
  if (uri.is_unix()) return {};  // needs none: what the environment says is for others
  if (!tls && !options.insecure_tcp) {
    return InvalidArgument(
        "a server at HOST:PORT is spoken to by TLS: give --tls-ca, --tls-cert and --tls-key, or "
        "--insecure-tcp if it was started with that");
  }
  if (tls && options.insecure_tcp)
    return InvalidArgument("--insecure-tcp and --tls-* exclude each other");
  if (tls && (options.tls_ca.empty() || options.tls_cert.empty() || options.tls_key.empty())) {
    return InvalidArgument("TLS needs all of --tls-ca, --tls-cert and --tls-key");
  }
  return {};
}

Status CheckSecurity(const std::string& uri, const ServerOptions& options) {
  if (!IsSluiceUri(uri)) return {};
  const auto parsed = ParseSluiceUri(uri);
  return parsed.ok() ? CheckSecurity(*parsed, options) : Status();
}

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
