// SPDX-License-Identifier: Apache-2.0
#include "client/uri.h"

#include <sys/un.h>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "proto/nbd.h"
#include "proto/nbd_handshake.h"

namespace sluice {
namespace {

constexpr size_t kMaxHostBytes = 253;  // RFC 1035, 2.3.4, without the root's dot

struct Scheme {
  const char* name;
  uint16_t port;
};
constexpr Scheme kNbdScheme = {"nbd", nbd::kPort};
constexpr Scheme kSluiceScheme = {"sluice", 10810};

std::string Forms(const Scheme& scheme) {
  return absl::StrCat("write ", scheme.name, "://HOST[:PORT]/EXPORT or ", scheme.name,
                      "+unix:///EXPORT?socket=PATH");
}

absl::Status Refused(absl::string_view text, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", absl::CHexEscape(text.substr(0, 300)), "\": ", why));
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = absl::ascii_tolower(static_cast<unsigned char>(c));
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// RFC 3986, 2.1. False for a % without two hex digits and for what stands for a NUL.
bool Unescape(absl::string_view text, std::string& out) {
  out.clear();
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      if (text.size() - i < 3) return false;
      const int high = HexDigit(text[i + 1]);
      const int low = HexDigit(text[i + 2]);
      if (high < 0 || low < 0) return false;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    }
    if (c == '\0') return false;
    out.push_back(c);
  }
  return true;
}

bool IsHostCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-' || c == '_';
}

absl::Status ParseAuthority(absl::string_view text, absl::string_view authority,
                            const Scheme& scheme, ServerUri& uri) {
  if (authority.find('@') != absl::string_view::npos) {
    return Refused(text, "there are no user names here: leave everything up to @ away");
  }
  absl::string_view rest = authority;
  bool v6 = false;
  if (absl::ConsumePrefix(&rest, "[")) {
    const size_t end = rest.find(']');
    if (end == absl::string_view::npos) return Refused(text, "the ] of the address is missing");
    if (!Unescape(rest.substr(0, end), uri.host)) return Refused(text, "a zone begins with %25");
    rest.remove_prefix(end + 1);
    v6 = true;
  } else {
    uri.host = std::string(rest.substr(0, rest.find(':')));
    rest.remove_prefix(uri.host.size());
  }
  if (uri.host.empty()) {
    return Refused(text,
                   absl::StrCat("the host is missing: ", scheme.name, "://127.0.0.1/ is this one"));
  }
  bool good = uri.host.size() <= kMaxHostBytes;
  for (const char c : uri.host)
    good = good && (IsHostCharacter(c) || (v6 && (c == ':' || c == '%')));
  if (!good) return Refused(text, "the host is malformed; an IPv6 address stands between [ and ]");
  uri.port = scheme.port;
  if (rest.empty()) return absl::OkStatus();
  uint32_t port = 0;
  if (!absl::ConsumePrefix(&rest, ":") || rest.empty() ||
      rest.find_first_not_of("0123456789") != absl::string_view::npos ||
      !absl::SimpleAtoi(rest, &port) || port == 0 || port > 65535) {
    return Refused(text, "the port is a number from 1 to 65535");
  }
  uri.port = static_cast<uint16_t>(port);
  return absl::OkStatus();
}

absl::Status ParseQuery(absl::string_view text, absl::string_view query, const Scheme& scheme,
                        ServerUri& uri) {
  if (!absl::ConsumePrefix(&query, "socket=") || query.find('&') != absl::string_view::npos) {
    return Refused(text, absl::StrCat(scheme.name, "+unix takes ?socket=PATH and nothing else"));
  }
  if (!Unescape(query, uri.socket) || uri.socket.empty()) {
    return Refused(text, "socket= needs a path; a % in it is written %25");
  }
  if (uri.socket.size() >= sizeof(sockaddr_un::sun_path)) {
    return Refused(text, "a unix socket's path has at most 107 bytes; choose a shorter one");
  }
  return absl::OkStatus();
}

// What people write that is a URI of something else.
absl::Status WrongScheme(absl::string_view text, const Scheme& scheme) {
  if (absl::StartsWith(text, "nbds:") || absl::StartsWith(text, "nbds+unix:")) {
    return Refused(text, "TLS is not supported yet: use nbd:// or nbd+unix://");
  }
  if (absl::StartsWith(text, "nbd:unix:")) {
    return Refused(text, "that is QEMU's old form: write nbd+unix:///EXPORT?socket=PATH");
  }
  if (scheme.name == kSluiceScheme.name) return Refused(text, Forms(scheme));
  return Refused(text, absl::StrCat("no NBD URI: ", Forms(scheme)));
}

bool ConsumeScheme(absl::string_view& text, const Scheme& scheme, bool& unix) {
  unix = absl::ConsumePrefix(&text, absl::StrCat(scheme.name, "+unix://"));
  return unix || absl::ConsumePrefix(&text, absl::StrCat(scheme.name, "://"));
}

absl::Status Parse(absl::string_view text, const Scheme& scheme, ServerUri& uri) {
  absl::string_view rest = text;
  bool unix = false;
  if (!ConsumeScheme(rest, scheme, unix)) return WrongScheme(text, scheme);
  if (rest.find('#') != absl::string_view::npos) {
    return Refused(text, "a # in a name is written %23");
  }
  const size_t question = rest.find('?');
  const absl::string_view authority_and_path = rest.substr(0, question);
  const size_t slash = authority_and_path.find('/');
  const absl::string_view authority = authority_and_path.substr(0, slash);
  if (unix) {
    if (!authority.empty()) {
      return Refused(text, absl::StrCat("a unix socket has no host: ", Forms(scheme)));
    }
    const bool asked = question != absl::string_view::npos;
    const absl::string_view query = asked ? rest.substr(question + 1) : absl::string_view();
    if (absl::Status status = ParseQuery(text, query, scheme, uri); !status.ok()) return status;
  } else {
    if (question != absl::string_view::npos) {
      return Refused(text, absl::StrCat(scheme.name,
                                        ":// takes nothing behind ?; a ? in a name is written "
                                        "%3F"));
    }
    if (absl::Status status = ParseAuthority(text, authority, scheme, uri); !status.ok()) {
      return status;
    }
  }
  if (slash != absl::string_view::npos &&
      !Unescape(authority_and_path.substr(slash + 1), uri.export_name)) {
    return Refused(text, "a % in a name is written %25, and a name holds no NUL");
  }
  if (!nbd::IsText({uri.export_name.data(), uri.export_name.size()})) {
    return Refused(text, "an export's name is UTF-8 and at most 4096 bytes");
  }
  return absl::OkStatus();
}

}  // namespace

bool IsSluiceUri(absl::string_view text) {
  bool unix = false;
  return ConsumeScheme(text, kSluiceScheme, unix);
}

absl::StatusOr<NbdUri> ParseNbdUri(absl::string_view text) {
  NbdUri uri;
  if (absl::Status status = Parse(text, kNbdScheme, uri); !status.ok()) return status;
  return uri;
}

absl::StatusOr<SluiceUri> ParseSluiceUri(absl::string_view text) {
  SluiceUri uri;
  if (absl::Status status = Parse(text, kSluiceScheme, uri); !status.ok()) return status;
  return uri;
}

}  // namespace sluice
