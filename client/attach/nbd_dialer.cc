// SPDX-License-Identifier: Apache-2.0
#include "client/attach/nbd_dialer.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "client/nbd_connection.h"

namespace sluice::attach {
namespace {

// The kernel waits for an idle server for ever; it has its own limit for requests. A host that is
// gone without a word is found out within half a minute, also when nothing is asked of it.
void MakeKernels(int fd, bool tcp) {
  const timeval forever{.tv_sec = 0, .tv_usec = 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof(forever));
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &forever, sizeof(forever));
  if (!tcp) return;
  const int on = 1;
  const int idle_s = 15;
  const int interval_s = 5;
  const int probes = 3;
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

}  // namespace

absl::StatusOr<Dialer::Dialed> NbdDialer::Dial() {
  auto connection = OpenNbd(uri_, NbdWishes{}, kPatienceS);
  if (!connection.ok()) return connection.status();
  Dialed dialed;
  dialed.geometry = {.size_bytes = connection->size_bytes(),
                     .min_block_bytes = connection->block_size().min,
                     .flags = connection->flags()};
  dialed.socket = Socket(connection->Release());
  MakeKernels(dialed.socket.fd(), !uri_.is_unix());
  return dialed;
}

absl::StatusOr<Geometry> NbdDialer::Ask() {
  const auto found = AskNbd(uri_, kPatienceS);
  if (!found.ok()) return found.status();
  return Geometry{.size_bytes = found->size_bytes.value_or(0),
                  .min_block_bytes = found->block_size.min,
                  .flags = found->flags};
}

}  // namespace sluice::attach
