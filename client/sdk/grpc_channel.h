// SPDX-License-Identifier: Apache-2.0
// A channel to the gRPC door that a URI names: one connection of its own.
#pragma once

#include <grpcpp/channel.h>

#include <memory>

#include "client/uri.h"
#include "sluice/client.h"

SLUICE_SDK_BEGIN
namespace internal {

// Connects when it is used. kFailedPrecondition: a file of Options::tls cannot be read.
Result<std::shared_ptr<::grpc::Channel>> MakeChannel(const SluiceUri& uri, const Options& options);

}  // namespace internal
SLUICE_SDK_END
