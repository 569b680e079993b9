// SPDX-License-Identifier: Apache-2.0
#include "server/address.h"

#include <arpa/inet.h>
#include <sys/un.h>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace sluice {
namespace {

constexpr size_t kMaxHost = 253;  // RFC 1035, 2.3.4, without the root's dot

absl::Status Refused(absl::string_view text, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", absl::CHexEscape(text.substr(0, 300)), "\" is no address: ", why));
}

bool IsHost(absl::string_view host) {
  if (host.empty() || host.size() > kMaxHost) return false;
  for (const char c : host) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '-' && c != '_') {
      return false;
    }
  }
  return true;
}

absl::StatusOr<Address> ParseUnix(absl::string_view text, absl::string_view path) {
  if (path.empty()) return Refused(text, "unix: needs a path");
  if (path.find('\0') != absl::string_view::npos) return Refused(text, "the path holds a NUL");
  if (path.size() >= sizeof(sockaddr_un::sun_path)) {
    return Refused(text, "a unix socket's path has at most 107 bytes; choose a shorter one");
  }
  Address address;
  address.kind = Address::Kind::kUnix;
  address.path = std::string(path);
  return address;
}

}  // namespace

std::string Address::ToString() const {
  if (kind == Kind::kUnix) return absl::StrCat("unix:", path);
  if (host.find(':') != std::string::npos) return absl::StrCat("[", host, "]:", port);
  return absl::StrCat(host, ":", port);
}

bool Address::IsLocal() const {
  if (kind == Kind::kUnix) return true;
  if (absl::AsciiStrToLower(host) == "localhost") return true;
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

absl::StatusOr<Address> ParseAddress(absl::string_view text) {
  absl::string_view rest = text;
  if (absl::ConsumePrefix(&rest, "unix:")) return ParseUnix(text, rest);

  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos) {
    return Refused(text, "write HOST:PORT, [V6]:PORT or unix:PATH");
  }
  absl::string_view host = text.substr(0, colon);
  const absl::string_view digits = text.substr(colon + 1);
  Address address;
  uint32_t port = 0;
  if (digits.empty() || digits.find_first_not_of("0123456789") != absl::string_view::npos ||
      !absl::SimpleAtoi(digits, &port) || port > 65535) {
    return Refused(text, "the port is a number from 0 to 65535");
  }
  if (absl::ConsumePrefix(&host, "[")) {
    in6_addr v6{};
    if (!absl::ConsumeSuffix(&host, "]") || host.size() >= INET6_ADDRSTRLEN ||
        inet_pton(AF_INET6, std::string(host).c_str(), &v6) != 1) {
      return Refused(text, "between [ and ] stands an IPv6 address");
    }
  } else if (host.find(':') != absl::string_view::npos) {
    return Refused(text, "an IPv6 address stands between [ and ]");
  } else if (!IsHost(host)) {
    return Refused(text, "the host is missing or malformed; 0.0.0.0 or [::] means every interface");
  }
  address.host = std::string(host);
  address.port = static_cast<uint16_t>(port);
  return address;
}

}  // namespace sluice
