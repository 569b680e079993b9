// SPDX-License-Identifier: Apache-2.0
// Where a server's gRPC door is and how it is spoken to.
#pragma once

#include <string>

#include "client/uri.h"

namespace sluice::control {

inline constexpr char kDefaultAddress[] = "unix:/run/sluice/grpc.sock";

struct ServerOptions {
  // "unix:PATH", "HOST:PORT" or "[V6]:PORT".
  std::string address = kDefaultAddress;
  // PEM files: who may have signed the server, who we are. For HOST:PORT.
  std::string tls_ca = {}, tls_cert = {}, tls_key = {};
  // HOST:PORT without TLS, because that was asked for.
  bool insecure_tcp = false;
};

// The address that ServerOptions would have for a URI's server.
std::string AddressOf(const SluiceUri& uri);
// The URI of an export at `address`: sluice://..., sluice+unix://...
std::string UriOf(const std::string& address, const std::string& export_name);

}  // namespace sluice::control
