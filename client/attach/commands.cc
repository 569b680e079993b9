// SPDX-License-Identifier: Apache-2.0
#include "client/attach/commands.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/attach/daemon.h"
#include "client/attach/device.h"
#include "client/attach/keeper.h"
#include "client/attach/nbd_dialer.h"
#include "client/attach/netlink.h"
#include "client/attach/record.h"
#include "client/uri.h"
#include "core/units.h"

namespace sluice::attach {
namespace {

constexpr char kUsualSocket[] = "/run/sluice/nbd.sock";

// A keeper that gives up disconnects the device itself; the driver's own limit is for a keeper that
// is gone as well, and must not be the first.
constexpr uint32_t kGraceS = 30;
constexpr uint32_t kNeverS = 365 * 24 * 3600;

int Failed(const absl::Status& status) {
  std::fprintf(stderr, "sluice: %s\n", std::string(status.message()).c_str());
  return 1;
}

// The URI of what is meant: a name alone is an export of this machine's server.
std::string UriTextOf(const std::string& what) {
  if (absl::StrContains(what, "://")) return what;
  struct stat socket {};
  if (stat(kUsualSocket, &socket) == 0) {
    return absl::StrCat("nbd+unix:///", what, "?socket=", kUsualSocket);
  }
  return absl::StrCat("nbd://127.0.0.1/", what);
}

// The first connection, awaited for `wait_s`.
absl::StatusOr<Dialer::Dialed> DialFirst(Dialer& dialer, uint32_t wait_s) {
  const absl::Time until = absl::Now() + absl::Seconds(wait_s);
  for (;;) {
    auto dialed = dialer.Dial();
    if (dialed.ok() || !absl::IsUnavailable(dialed.status()) || absl::Now() >= until) {
      return dialed;
    }
    absl::SleepFor(absl::Milliseconds(200));
  }
}

// The connections a new device is made of, and what it is.
struct Preparation {
  Device device;
  std::vector<Socket> links;

  std::vector<int> Descriptors() const {
    std::vector<int> descriptors;
    for (const Socket& link : links) descriptors.push_back(link.fd());
    return descriptors;
  }
};

absl::StatusOr<Preparation> Prepare(Dialer& dialer, const Options& options) {
  auto first = DialFirst(dialer, options.wait_s);
  if (!first.ok()) return first.status();
  const Wishes wishes{.connections = options.connections,
                      .block_bytes = options.block_bytes,
                      .read_only = options.read_only};
  const auto device = PlanDevice(first->geometry, wishes, std::thread::hardware_concurrency());
  if (!device.ok()) return device.status();
  Preparation preparation{.device = *device, .links = {}};
  preparation.links.push_back(std::move(first->socket));
  while (preparation.links.size() < device->connections) {
    auto next = dialer.Dial();
    if (!next.ok()) return next.status();
    if (absl::Status s = CheckSuccessor(*device, next->geometry); !s.ok()) return s;
    preparation.links.push_back(std::move(next->socket));
  }
  return preparation;
}

// A device whose keeper is gone while it still is attached to the same export: it only needs a
// keeper. NotFound: there is no such device.
absl::StatusOr<Attachment> TakeOver(Kernel& kernel, uint32_t index, const std::string& identifier,
                                    const Patience& patience, const RecordFile& file,
                                    const Preparation& fresh) {
  const DeviceView view = LookAtDevice(index);
  if (!view.attached || view.identifier != identifier) return absl::NotFoundError("another one");
  Attachment attachment{
      .index = index, .identifier = identifier, .device = fresh.device, .links = {}};
  attachment.device.size_bytes = view.size_bytes;
  attachment.device.block_bytes = view.block_bytes;
  if (file.former()) {
    attachment.device.connections = std::clamp(file.former()->connections, 1U, kMaxConnections);
    attachment.device.flags = file.former()->flags;
  }
  // Connections that died while nobody kept them are told of no more: the driver takes ours for
  // those, and no others.
  Change change{.patience = patience};
  const std::vector<int> sockets = fresh.Descriptors();
  const Geometry now{.size_bytes = fresh.device.size_bytes,
                     .min_block_bytes = fresh.device.block_bytes,
                     .flags = fresh.device.flags};
  if (CheckSuccessor(attachment.device, now).ok()) change.sockets = sockets;
  if (absl::Status s = kernel.Reconfigure(index, identifier, change); !s.ok()) return s;
  attachment.links.resize(attachment.device.connections);
  return attachment;
}

Patience PatienceOf(const Options& options) {
  return {
      .request_timeout_s = options.timeout_s,
      .dead_connection_timeout_s = options.give_up_s == 0 ? kNeverS : options.give_up_s + kGraceS};
}

// With a device that was named, its place is taken first: who has it is told better than by the
// kernel. The place of one that the kernel has chosen is free, or its last keeper is just leaving.
absl::StatusOr<RecordFile> TakeChosen(uint32_t index) {
  const absl::Time until = absl::Now() + absl::Seconds(5);
  for (;;) {
    auto file = RecordFile::Take(index);
    if (file.ok() || !absl::IsAlreadyExists(file.status()) || absl::Now() >= until) return file;
    absl::SleepFor(absl::Milliseconds(50));
  }
}

struct Made {
  Attachment attachment;
  RecordFile file;
  bool taken_over = false;
};

absl::StatusOr<Made> Make(Kernel& kernel, Dialer& dialer, const std::string& uri,
                          const Options& options) {
  std::optional<uint32_t> wanted;
  std::optional<RecordFile> file;
  if (!options.device.empty()) {
    const auto index = ParseDevice(options.device);
    if (!index.ok()) return index.status();
    auto taken = RecordFile::Take(*index);
    if (!taken.ok()) return taken.status();
    wanted = *index;
    file.emplace(*std::move(taken));
  }
  auto preparation = Prepare(dialer, options);
  if (!preparation.ok()) return preparation.status();
  // Until here Ctrl-C ends it at once; a device that is made is not left without a keeper.
  HoldSignals();
  const std::string identifier = absl::StrCat("sluice ", uri).substr(0, kMaxIdentifierBytes);
  const auto index = kernel.Connect(wanted, preparation->device, PatienceOf(options), identifier,
                                    preparation->Descriptors());
  if (absl::IsAlreadyExists(index.status()) && wanted) {
    auto attachment =
        TakeOver(kernel, *wanted, identifier, PatienceOf(options), *file, *preparation);
    if (!attachment.ok()) return index.status();
    return Made{*std::move(attachment), *std::move(file), true};
  }
  if (!index.ok()) return index.status();
  if (!file) {
    auto taken = TakeChosen(*index);
    if (!taken.ok()) {
      static_cast<void>(kernel.Disconnect(*index));
      return taken.status();
    }
    file.emplace(*std::move(taken));
  }
  return Made{{.index = *index,
               .identifier = identifier,
               .device = preparation->device,
               .links = std::move(preparation->links)},
              *std::move(file),
              false};
}

}  // namespace

int Attach(const Options& options) {
  const std::string uri_text = UriTextOf(options.what);
  const auto uri = ParseNbdUri(uri_text);
  if (!uri.ok()) return Failed(uri.status());
  auto kernel = NetlinkKernel::Open();
  if (!kernel.ok()) return Failed(kernel.status());
  NbdDialer dialer(*uri);
  auto made = Make(**kernel, dialer, uri_text, options);
  if (!made.ok()) return Failed(made.status());

  const uint32_t index = made->attachment.index;
  const Device device = made->attachment.device;
  std::printf("%s\n", DevicePath(index).c_str());
  std::fflush(stdout);
  Voice voice(absl::StrCat("nbd", index));
  if (made->taken_over) voice.Say("taken over from a keeper that is gone");
  if (!options.foreground) {
    if (!GoToBackground()) _exit(0);
    made->file.Own();
    voice.ToSyslog();
  }
  const Keeper::Limits limits{
      .give_up_ns = options.give_up_s == 0 ? UINT64_MAX : options.give_up_s * kSecond,
      .poll_ns = options.poll_s * kSecond};
  Keeper keeper(
      **kernel, dialer, std::move(made->attachment), limits,
      [&voice](const std::string& text) { voice.Say(text); }, NowNs());
  std::optional<Watch> watch;  // of threads, so only where nobody forks any more
  if (options.watch) watch.emplace(options.server);
  return RunKeeper(keeper, **kernel, watch ? &*watch : nullptr, made->file,
                   {.uri = uri_text, .connections = device.connections, .flags = device.flags},
                   options.foreground);
}

}  // namespace sluice::attach
