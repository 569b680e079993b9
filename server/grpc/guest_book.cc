// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/guest_book.h"

#include <netinet/in.h>

#include <algorithm>
#include <cstring>

namespace sluice::rpc {

std::string GuestBook::HostOf(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &address, sizeof(v4));
    return {reinterpret_cast<const char*>(&v4.sin_addr), sizeof(v4.sin_addr)};
  }
  if (address.ss_family != AF_INET6) return "";
  sockaddr_in6 v6{};
  std::memcpy(&v6, &address, sizeof(v6));
  const auto* bytes = reinterpret_cast<const char*>(&v6.sin6_addr);
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) return {bytes + 12, 4};
  return {bytes, 8};
}

std::optional<uint64_t> GuestBook::EnterHost(const std::string& host, uint64_t now_ns) {
  if (hosts_.size() >= kRemembered) {
    std::erase_if(hosts_, [](const auto& entry) { return entry.second.connections == 0; });
  }
  Host& entry = hosts_[host];
  if (entry.connections >= per_host_) return std::nullopt;
  ++entry.connections;
  entry.handshakes.Take(1, now_ns);
  return entry.handshakes.EvenAt(now_ns);
}

void GuestBook::LeaveHost(const std::string& host, bool unused) {
  Host& entry = hosts_.at(host);
  --entry.connections;
  if (unused) entry.handshakes.Give(1);
}

uint64_t GuestBook::Holder::Pass(const Http2Meter::Passed& passed, uint64_t now_ns) {
  frames_.Take(passed.frames, now_ns);
  streams_.Take(passed.streams, now_ns);
  resets_.Take(passed.resets, now_ns);
  return std::max({frames_.EvenAt(now_ns), streams_.EvenAt(now_ns), resets_.EvenAt(now_ns)});
}

void GuestBook::ForgetHolders(uint64_t now_ns) {
  const auto gone = [now_ns](const Holder& holder) {
    return holder.connections_ == 0 && holder.out_until_ns_ <= now_ns;
  };
  const size_t before = holders_.size();
  std::erase_if(holders_, [&](const auto& entry) {
    const Holder& holder = entry.second;
    const bool innocent = holder.offences_ == 0 || now_ns - holder.last_offence_ns_ > kForgottenNs;
    return innocent && gone(holder);
  });
  if (holders_.size() < before) return;
  const auto oldest =
      std::min_element(holders_.begin(), holders_.end(), [&](const auto& one, const auto& other) {
        const auto since = [&](const Holder& holder) {
          return gone(holder) ? holder.last_offence_ns_ : UINT64_MAX;
        };
        return since(one.second) < since(other.second);
      });
  if (gone(oldest->second)) holders_.erase(oldest);
}

GuestBook::Holder* GuestBook::EnterHolder(const std::string& name, uint64_t now_ns) {
  if (holders_.size() >= kRemembered && !holders_.contains(name)) ForgetHolders(now_ns);
  Holder& holder = holders_[name];
  if (now_ns < holder.out_until_ns_) return nullptr;
  ++holder.connections_;
  return &holder;
}

uint64_t GuestBook::Offend(Holder& holder, uint64_t now_ns) {
  // Its other connections may be found guilty of the same flood.
  if (now_ns < holder.out_until_ns_) return holder.out_until_ns_ - now_ns;
  if (now_ns - holder.last_offence_ns_ > kForgottenNs) holder.offences_ = 0;
  holder.last_offence_ns_ = now_ns;
  const uint32_t doubled = std::min(holder.offences_++, 16u);
  const uint64_t out_ns = std::min(kFirstOutNs << doubled, kLongestOutNs);
  holder.out_until_ns_ = now_ns + out_ns;
  return out_ns;
}

}  // namespace sluice::rpc
