// SPDX-License-Identifier: Apache-2.0
#include "client/bench/stream.h"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "client/bench/time.h"

namespace sluice::bench {

Stream::Stream(NbdConnection connection, const Options& options, const Region& region,
               Coverage* coverage)
    : connection_(std::move(connection)),
      load_(options, region, coverage),
      outbox_(options.depth),
      reader_(load_.flight(), *this, connection_.structured()) {}

absl::Status Stream::Pump(uint64_t deadline_ns) {
  const uint64_t now_ns = NowNs();
  load_.Resume(now_ns, deadline_ns);
  while (!outbox_.full()) {
    Request* const request = load_.Take(now_ns);
    if (request == nullptr) break;
    outbox_.Push({.flags = load_.MustBeDurable(*request) ? nbd::kFlagFua : uint16_t{0},
                  .command = request->command,
                  .cookie = request->cookie,
                  .offset = request->offset,
                  .length = request->length},
                 load_.PayloadFor(*request));
  }
  return outbox_.Send(fd());
}

absl::StatusOr<bool> Stream::Receive(bool wait) {
  const ByteSpan room = reader_.Room();
  const ssize_t got = recv(fd(), room.data(), room.size(), wait ? 0 : MSG_DONTWAIT);
  if (got < 0) {
    if (errno == EAGAIN || errno == EINTR) return false;
    return ConnectionLost(errno);
  }
  if (got == 0) return ConnectionLost(0);
  received_ns_ = NowNs();
  if (absl::Status status = reader_.Take(static_cast<size_t>(got)); !status.ok()) return status;
  return true;
}

void Stream::OnData(Request& request, uint64_t offset, ConstByteSpan bytes) {
  load_.OnBytes(request, offset, bytes);
}

void Stream::OnHole(Request& request, uint64_t, uint32_t) { load_.OnHole(request); }

void Stream::OnDone(Request& request) { load_.OnDone(request, received_ns_); }

}  // namespace sluice::bench
