// SPDX-License-Identifier: Apache-2.0
#include "client/attach/keeper.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/check.h"
#include "core/units.h"

namespace sluice::attach {
namespace {

// From the end of a connection to the first try. Every further one waits twice as long, up to a
// second.
constexpr uint64_t kFirstPauseNs = 20 * kMillisecond;
constexpr uint64_t kLongestPauseNs = kSecond;

// The driver's word that it holds a connection for dead may be lost on the way (its messages are
// dropped when nobody reads them for long), so it is not waited for longer than this.
constexpr uint64_t kLongestDoubtNs = 5 * kSecond;

constexpr uint64_t kStopLookNs = 200 * kMillisecond;

}  // namespace

Keeper::Keeper(Kernel& kernel, Dialer& dialer, Attachment attachment, const Limits& limits, Say say,
               uint64_t now_ns)
    : kernel_(kernel),
      dialer_(dialer),
      attachment_(std::move(attachment)),
      limits_(limits),
      say_(std::move(say)),
      next_poll_ns_(now_ns + limits.poll_ns),
      wake_ns_(now_ns) {
  SLUICE_CHECK(!attachment_.links.empty());
  for (Socket& socket : attachment_.links) links_.push_back({.socket = std::move(socket)});
  attachment_.links.clear();
}

void Keeper::AddEvents(std::vector<pollfd>& events) const {
  for (const Link& link : links_) {
    if (!link.alive || link.socket.fd() < 0) continue;
    events.push_back({.fd = link.socket.fd(), .events = Socket::kEvents, .revents = 0});
  }
}

uint32_t Keeper::live_links() const {
  return static_cast<uint32_t>(
      std::count_if(links_.begin(), links_.end(), [](const Link& link) { return link.alive; }));
}

uint32_t Keeper::dead_links() const { return static_cast<uint32_t>(links_.size()) - live_links(); }

uint32_t Keeper::Replaceable(uint64_t now_ns) const {
  const uint64_t doubt_ns = std::min(kLongestDoubtNs, limits_.give_up_ns / 2);
  if (now_ns - lost_since_ns_ >= doubt_ns) return dead_links();
  return std::min(dead_links(), free_places_);
}

void Keeper::Stop(bool force) {
  stopping_ = true;
  force_ = force_ || force;
  wake_ns_ = 0;
}

void Keeper::SayOnce(const std::string& text) {
  if (text == said_) return;
  said_ = text;
  say_(text);
}

Keeper::Verdict Keeper::Step(uint64_t now_ns) {
  NoticeDead(now_ns);
  if (stopping_) {
    if (const Verdict verdict = TryDetach(); verdict != Verdict::kKeep) return verdict;
  }
  const bool whole = live_links() == links_.size();
  if (!whole && now_ns >= next_try_ns_) {
    if (const Verdict verdict = Reconnect(now_ns); verdict != Verdict::kKeep) return verdict;
  } else if (whole && now_ns >= next_poll_ns_) {
    LookForGrowth();
    next_poll_ns_ = now_ns + limits_.poll_ns;
  }
  wake_ns_ = live_links() == links_.size() ? next_poll_ns_ : next_try_ns_;
  if (stopping_) wake_ns_ = std::min(wake_ns_, now_ns + kStopLookNs);
  return Verdict::kKeep;
}

void Keeper::NoticeDead(uint64_t now_ns) {
  const auto told = static_cast<uint32_t>(kernel_.TakeDeadLinks(attachment_.index));
  free_places_ = std::min(free_places_ + told, static_cast<uint32_t>(links_.size()));
  for (Link& link : links_) {
    if (link.alive && link.socket.fd() >= 0 && link.socket.Dead()) LinkDied(link, now_ns);
  }
  // What the driver tells beyond what we see ourselves are links that we cannot see, or whose
  // socket it did not take.
  for (Link& link : links_) {
    if (dead_links() >= free_places_) break;
    if (link.alive && (link.socket.fd() < 0 || link.doubtful)) LinkDied(link, now_ns);
  }
}

void Keeper::LinkDied(Link& link, uint64_t now_ns) {
  if (live_links() == links_.size()) {
    SayOnce("a connection is lost; reconnecting");
    pause_ns_ = kFirstPauseNs;
    next_try_ns_ = now_ns + pause_ns_;
  }
  link.alive = false;
  lost_since_ns_ = now_ns;
}

Keeper::Verdict Keeper::Reconnect(uint64_t now_ns) {
  // Whoever else detached the device closed our connections with it.
  if (!IsOurs()) return Lost();
  const absl::Status status = Replace(Replaceable(now_ns));
  if (status.ok() && dead_links() == 0) {
    said_.clear();
    say_(absl::StrCat("connected again, ", attachment_.device.size_bytes, " bytes"));
    next_poll_ns_ = now_ns + limits_.poll_ns;
    return Verdict::kKeep;
  }
  if (!status.ok()) SayOnce(absl::StrCat("cannot reconnect: ", status.message()));
  if (live_links() == 0 && now_ns - lost_since_ns_ >= limits_.give_up_ns) return GiveUp();
  pause_ns_ = std::min(2 * pause_ns_, kLongestPauseNs);
  next_try_ns_ = now_ns + pause_ns_;
  return Verdict::kKeep;
}

absl::Status Keeper::Replace(uint32_t count) {
  if (count == 0) return absl::OkStatus();
  std::vector<Dialer::Dialed> dialed;
  std::vector<int> sockets;
  while (sockets.size() < count) {
    auto one = dialer_.Dial();
    if (!one.ok()) return one.status();
    if (absl::Status s = CheckSuccessor(attachment_.device, one->geometry); !s.ok()) return s;
    sockets.push_back(one->socket.fd());
    dialed.push_back(*std::move(one));
  }
  Change change{.sockets = sockets};
  const uint64_t size = UsableBytes(dialed.front().geometry, attachment_.device);
  if (size > attachment_.device.size_bytes) change.size_bytes = size;
  if (absl::Status status = kernel_.Reconfigure(attachment_.index, attachment_.identifier, change);
      !status.ok()) {
    return status;
  }
  attachment_.device.size_bytes = size;
  for (Link& link : links_) {
    if (link.alive || dialed.empty()) continue;
    link = {.socket = std::move(dialed.back().socket), .doubtful = free_places_ == 0};
    free_places_ -= std::min(free_places_, 1U);
    dialed.pop_back();
  }
  return absl::OkStatus();
}

Keeper::Verdict Keeper::GiveUp() {
  say_(absl::StrCat("the server is gone for longer than ", limits_.give_up_ns / kSecond,
                    " s: giving up, the device answers EIO from now on"));
  // It may be gone by itself; there is nothing left to do then.
  if (IsOurs()) static_cast<void>(kernel_.Disconnect(attachment_.index));
  return Verdict::kGaveUp;
}

void Keeper::LookForGrowth() {
  const auto now = dialer_.Ask();
  if (!now.ok()) return;  // the connections tell whether the server is there
  if (absl::Status status = CheckSuccessor(attachment_.device, *now); !status.ok()) {
    SayOnce(absl::StrCat("the device stays as it is: ", status.message()));
    return;
  }
  const uint64_t size = UsableBytes(*now, attachment_.device);
  if (size == attachment_.device.size_bytes) return;
  const absl::Status status =
      kernel_.Reconfigure(attachment_.index, attachment_.identifier, Change{.size_bytes = size});
  if (!status.ok()) {
    SayOnce(absl::StrCat("cannot pass growth on: ", status.message()));
    return;
  }
  say_(absl::StrCat("grown from ", attachment_.device.size_bytes, " to ", size, " bytes"));
  attachment_.device.size_bytes = size;
}

bool Keeper::IsOurs() {
  const Change none;
  return !absl::IsNotFound(kernel_.Reconfigure(attachment_.index, attachment_.identifier, none));
}

Keeper::Verdict Keeper::Lost() {
  say_("the device was detached by somebody else");
  return Verdict::kDetached;
}

Keeper::Verdict Keeper::TryDetach() {
  if (!IsOurs()) return Lost();
  if (!force_ && kernel_.InUse(attachment_.index)) {
    SayOnce("asked to detach a device in use: waiting until it is unmounted");
    return Verdict::kKeep;
  }
  const absl::Status status = kernel_.Disconnect(attachment_.index);
  say_(status.ok() ? std::string("detached") : std::string(status.message()));
  return Verdict::kDetached;
}

}  // namespace sluice::attach
