// SPDX-License-Identifier: Apache-2.0
#include "client/sdk/grpc_channel.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>

SLUICE_SDK_BEGIN
namespace internal {
namespace {

constexpr int kMaxReceiveBytes = 8 << 20;  // a server's messages are shorter
constexpr int kFrameBytes = 256 * 1024;
// A connection that is lost is tried again so soon: the session paces itself.
constexpr int kBackoffMs = 100;
// A connection without a word is asked whether it lives; servers allow it every 5 s.
constexpr int kKeepaliveMs = 20'000;
constexpr int kKeepaliveTimeoutMs = 10'000;

// RFC 3986, 2.3: gRPC takes the path of a socket for a part of a URI.
std::string Escape(const std::string& path) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string escaped;
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || std::strchr("/-._~", c) != nullptr) {
      escaped += c;
    } else {
      escaped += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return escaped;
}

std::string TargetOf(const SluiceUri& uri) {
  if (uri.is_unix()) return "unix:" + Escape(uri.socket);
  const bool v6 = uri.host.find(':') != std::string::npos;
  const std::string host = v6 ? "[" + uri.host + "]" : uri.host;
  return "dns:///" + Escape(host) + ":" + std::to_string(uri.port);
}

Status ReadFile(const std::string& path, std::string& into) {
  if (path.empty()) return {};
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    return Status(StatusCode::kFailedPrecondition,
                  "cannot read " + path + ": " + std::strerror(errno != 0 ? errno : EIO));
  }
  into = text.str();
  return {};
}

}  // namespace

Result<std::shared_ptr<::grpc::Channel>> MakeChannel(const SluiceUri& uri, const Options& options) {
  ::grpc::ChannelArguments arguments;
  const std::pair<const char*, int> numbers[] = {
      {GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1},  // else all channels share one connection
      {GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, kMaxReceiveBytes},
      {GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kFrameBytes},
      {GRPC_ARG_ENABLE_RETRIES, 0},  // nothing but the law sends a request twice
      {GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1},
      {GRPC_ARG_ENABLE_HTTP_PROXY, 0},
      {GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kBackoffMs},
      // By its name another pause, but it is what one attempt may take.
      {GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, static_cast<int>(options.connect_timeout_ms)},
      {GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kBackoffMs},
      {GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs},
      {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs},
      {GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1},
      {GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0},
  };
  for (const auto& [name, value] : numbers) arguments.SetInt(name, value);
  std::shared_ptr<::grpc::ChannelCredentials> credentials;
  if (uri.is_unix() || options.insecure_tcp) {
    credentials = ::grpc::InsecureChannelCredentials();
  } else {
    ::grpc::SslCredentialsOptions ssl;
    const std::pair<const std::string&, std::string&> files[] = {
        {options.tls.ca_file, ssl.pem_root_certs},
        {options.tls.cert_file, ssl.pem_cert_chain},
        {options.tls.key_file, ssl.pem_private_key},
    };
    for (const auto& [path, text] : files) {
      if (Status status = ReadFile(path, text); !status.ok()) return status;
    }
    if (!options.tls.server_name.empty()) {
      arguments.SetSslTargetNameOverride(options.tls.server_name);
    }
    credentials = ::grpc::SslCredentials(ssl);
  }
  return ::grpc::CreateCustomChannel(TargetOf(uri), credentials, arguments);
}

}  // namespace internal
SLUICE_SDK_END
