// SPDX-License-Identifier: Apache-2.0
#include "sluice/client.h"

#include <utility>

#include "client/sdk/engine.h"
#include "client/sdk/transport.h"
#include "client/sdk/volume_state.h"

SLUICE_SDK_BEGIN
namespace {

constexpr uint32_t kMaxConnections = 64;
constexpr uint32_t kMaxQueueDepth = 4096;
constexpr size_t kMaxIdBytes = 128;
constexpr uint32_t kMaxTimeMs = 24u * 3600 * 1000;

Status Check(const Options& options) {
  if (options.connections < 1 || options.connections > kMaxConnections) {
    return Status(StatusCode::kInvalidArgument, "connections: give 1 to 64");
  }
  if (options.queue_depth < 1 || options.queue_depth > kMaxQueueDepth) {
    return Status(StatusCode::kInvalidArgument, "queue_depth: give 1 to 4096");
  }
  if (options.connect_timeout_ms < 1 || options.connect_timeout_ms > kMaxTimeMs ||
      options.reply_timeout_ms > kMaxTimeMs || options.reconnect_ms > kMaxTimeMs) {
    return Status(StatusCode::kInvalidArgument, "times: give at most a day, 86400000 ms");
  }
  if (options.client_id.size() > kMaxIdBytes || options.instance_id.size() > kMaxIdBytes) {
    return Status(StatusCode::kInvalidArgument, "client_id, instance_id: give at most 128 bytes");
  }
  if (options.tls.cert_file.empty() != options.tls.key_file.empty()) {
    return Status(StatusCode::kInvalidArgument, "tls: cert_file and key_file go together");
  }
  return {};
}

}  // namespace

Result<Client> Client::Create() {
  auto engine = internal::Engine::Start();
  if (!engine.ok()) return engine.status();
  return Client(*std::move(engine));
}

Result<Volume> Client::Open(std::string_view uri, const Options& options) const {
  if (Status status = Check(options); !status.ok()) return status;
  if (engine_->OnThread()) {
    return Status(StatusCode::kFailedPrecondition, "Open() blocks: not in a callback");
  }
  auto transport = internal::OpenTransport(*engine_, uri, options);
  if (!transport.ok()) return transport.status();
  return Volume(std::make_shared<internal::VolumeState>(engine_, *std::move(transport)));
}

BufferPool& Client::buffers() const { return engine_->buffers(); }

SLUICE_SDK_END
