// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/callers.h"

#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/check.h"

namespace sluice::rpc {
namespace {

constexpr char kPrefix[] = "sluice-caller-";  // of the names
constexpr size_t kRandomBytes = 16;

std::string RandomName() {
  std::string bytes(kRandomBytes, '\0');
  SLUICE_CHECK(getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  return absl::StrCat(kPrefix, absl::BytesToHexString(bytes));
}

}  // namespace

Callers::Row::Row(Callers& callers, Caller caller) : callers_(&callers), name_(RandomName()) {
  const std::lock_guard<std::mutex> lock(callers.mutex_);
  callers.rows_.emplace(name_, std::move(caller));
}

Callers::Row::Row(Row&& other) noexcept
    : callers_(std::exchange(other.callers_, nullptr)), name_(std::move(other.name_)) {}

Callers::Row& Callers::Row::operator=(Row&& other) noexcept {
  std::swap(callers_, other.callers_);
  std::swap(name_, other.name_);
  return *this;
}

Callers::Row::~Row() {
  if (callers_ == nullptr) return;
  const std::lock_guard<std::mutex> lock(callers_->mutex_);
  callers_->rows_.erase(name_);
}

absl::Status Callers::Row::Bind(int fd) const {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  SLUICE_CHECK(name_.size() < sizeof(name.sun_path));
  std::memcpy(name.sun_path + 1, name_.data(), name_.size());
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name_.size());
  if (bind(fd, reinterpret_cast<const sockaddr*>(&name), length) == 0) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, "bind");
}

Caller Callers::Find(const std::string& peer) const {
  using Kind = Identity::Kind;
  absl::string_view name = peer;
  if (!absl::ConsumePrefix(&name, "unix-abstract:") || !absl::StartsWith(name, kPrefix)) {
    const bool is_unix = absl::StartsWith(peer, "unix");
    return {{is_unix ? Kind::kUnixSocket : Kind::kAddress, "", true}, peer};
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = rows_.find(name);
  if (found == rows_.end()) return {Identity(), "a caller that is gone"};
  return found->second;
}

}  // namespace sluice::rpc
