// SPDX-License-Identifier: Apache-2.0
#include "client/sdk/transport.h"

#include <unistd.h>

#include <atomic>
#include <random>
#include <string>

#include "client/sdk/grpc_transport.h"
#include "client/sdk/nbd_transport.h"
#include "client/uri.h"

SLUICE_SDK_BEGIN
namespace internal {
namespace {

// As the options say, and what they leave to us.
Options WithNames(Options options) {
  char host[64] = "";
  gethostname(host, sizeof(host) - 1);
  const std::string name = std::string(host) + ":" + std::to_string(getpid());
  if (options.client_id.empty()) {
    std::random_device random;
    options.client_id = name + ":" + std::to_string(random()) + std::to_string(random());
  }
  if (options.instance_id.empty()) options.instance_id = name;
  return options;
}

}  // namespace

Result<std::unique_ptr<Transport>> OpenTransport(Engine& engine, std::string_view uri,
                                                 const Options& options) {
  const absl::string_view text(uri.data(), uri.size());
  if (IsSluiceUri(text)) {
    const auto parsed = ParseSluiceUri(text);
    if (!parsed.ok()) return FromAbsl(parsed.status());
    return GrpcTransport::Open(*parsed, WithNames(options));
  }
  const auto parsed = ParseNbdUri(text);
  if (!parsed.ok()) return FromAbsl(parsed.status());
  return OpenNbdTransport(engine, *parsed, options);
}

}  // namespace internal
SLUICE_SDK_END
