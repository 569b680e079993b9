// SPDX-License-Identifier: Apache-2.0
// Where a server's gRPC door is and how it is spoken to.
#pragma once

#include <string>

#include "client/uri.h"
#include "sluice/status.h"

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

// InvalidArgument: a server at HOST:PORT cannot be spoken to like that; says what to give.
Status CheckSecurity(const SluiceUri& uri, const ServerOptions& options);
// For the server of an export's URI; any other URI is as good as can be told here.
Status CheckSecurity(const std::string& uri, const ServerOptions& options);

// The address that ServerOptions would have for a URI's server.
std::string AddressOf(const SluiceUri& uri);
// The URI of an export at `address`: sluice://..., sluice+unix://...
std::string UriOf(const std::string& address, const std::string& export_name);

}  // namespace sluice::control
