// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/relay.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/check.h"
#include "core/log.h"
#include "core/units.h"
#include "server/grpc/guest_book.h"
#include "server/grpc/relayed.h"
#include "server/text.h"

namespace sluice::rpc {
namespace {

constexpr uint64_t kLingerNs = 1 * kSecond;
constexpr uint64_t kLastAnswerNs = 5 * kSecond;  // to be taken, once gRPC has ended a connection
constexpr TokenBucket::Rate kLines{20, 2};       // of the log, about those who are refused
constexpr int kEvents = 64;

// Of two times, 0 being never.
uint64_t Sooner(uint64_t one_ns, uint64_t other_ns) {
  if (one_ns == 0 || other_ns == 0) return std::max(one_ns, other_ns);
  return std::min(one_ns, other_ns);
}

}  // namespace

class Relay::Loop {
 public:
  Loop(Clock& clock, RelayOptions options, std::shared_ptr<const TlsContext> context,
       Callers& callers, Deliver deliver)
      : clock_(clock),
        options_(std::move(options)),
        keeper_(options_.files, kProtocol, std::move(context)),
        callers_(callers),
        deliver_(std::move(deliver)),
        book_(options_.connections_per_host) {}
  ~Loop() { SLUICE_CHECK(!thread_.joinable()); }

  absl::Status Start();
  void Send(absl::AnyInvocable<void()> order);
  void Join() { thread_.join(); }

  // --- its thread ---
  void Enter(int fd, const Peer& peer, Turnstile::Ticket ticket);
  void Reload() { keeper_.Reload(); }
  void Drain();
  void Stop() { stop_at_ns_ = clock_.NowNs() + kLingerNs; }

  RelayCounts counts;

 private:
  struct Guest {
    Guest(OwnedFd fd, std::shared_ptr<const TlsContext> tls, uint32_t frame_max)
        : stream(std::move(fd), std::move(tls), frame_max) {}
    uint64_t id = 0;
    std::string name;  // for the log
    std::string host;
    Peer peer;
    Turnstile::Ticket ticket;
    Callers::Row row;
    Relayed stream;
    GuestBook::Holder* holder = nullptr;
    uint64_t wake_at_ns = 0;  // in timers_, unless 0
    bool listed = false;      // in runnable_
    bool begun = false;       // its handshake
    uint64_t end_at_ns = 0;   // gRPC has ended it: the time that is left; 0: it has not
  };
  // What an event is about.
  static constexpr uint64_t kOrders = 0;
  static uint64_t OuterKey(uint64_t id) { return id << 1; }
  static uint64_t InnerKey(uint64_t id) { return id << 1 | 1; }

  void Run();
  bool Over() const;
  int SleepMs() const;
  void TakeOrders();
  void OnEvent(const epoll_event& event);
  void OnTime();
  void RunOne(Guest& guest);
  void LetIn(Guest& guest);
  void WakeAt(Guest& guest, uint64_t at_ns);
  void List(Guest& guest);
  void Refuse(const Guest& guest, absl::string_view why);
  void Close(Guest& guest);
  bool Watch(int fd, uint64_t key);

  Clock& clock_;
  const RelayOptions options_;
  TlsKeeper keeper_;
  Callers& callers_;
  Deliver deliver_;
  OwnedFd epoll_, wake_;
  std::thread thread_;

  std::mutex mutex_;
  std::vector<absl::AnyInvocable<void()>> orders_;  // guarded by mutex_

  // The thread's.
  GuestBook book_;
  TokenBucket lines_{kLines};
  uint64_t last_id_ = 0;
  std::map<uint64_t, std::unique_ptr<Guest>> guests_;
  std::deque<uint64_t> runnable_;
  std::set<std::pair<uint64_t, uint64_t>> timers_;  // when, whose
  bool draining_ = false;
  uint64_t stop_at_ns_ = 0;  // 0: not asked to
};

absl::Status Relay::Loop::Start() {
  epoll_ = OwnedFd(epoll_create1(EPOLL_CLOEXEC));
  wake_ = OwnedFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (epoll_.get() < 0 || wake_.get() < 0 || !Watch(wake_.get(), kOrders)) {
    return absl::InternalError(
        absl::StrCat("tls: no descriptors for the relay: ", std::strerror(errno),
                     "; raise the limit of open files"));
  }
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "grpc-relay");
    Run();
  });
  return absl::OkStatus();
}

bool Relay::Loop::Watch(int fd, uint64_t key) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.u64 = key;
  return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

void Relay::Loop::Send(absl::AnyInvocable<void()> order) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    orders_.push_back(std::move(order));
  }
  const uint64_t one = 1;
  // A counter that is full wakes as well.
  [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof(one));
}

void Relay::Loop::TakeOrders() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(wake_.get(), &count, sizeof(count));
  std::vector<absl::AnyInvocable<void()>> orders;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    orders.swap(orders_);
  }
  for (auto& order : orders) order();
}

bool Relay::Loop::Over() const {
  return stop_at_ns_ != 0 && (guests_.empty() || clock_.NowNs() >= stop_at_ns_);
}

int Relay::Loop::SleepMs() const {
  if (!runnable_.empty()) return 0;
  uint64_t at_ns = timers_.empty() ? UINT64_MAX : timers_.begin()->first;
  if (stop_at_ns_ != 0) at_ns = std::min(at_ns, stop_at_ns_);
  if (at_ns == UINT64_MAX) return -1;
  const uint64_t now_ns = clock_.NowNs();
  if (at_ns <= now_ns) return 0;
  return static_cast<int>((at_ns - now_ns) / kMillisecond) + 1;
}

void Relay::Loop::Run() {
  std::array<epoll_event, kEvents> events;
  while (!Over()) {
    const int count = epoll_wait(epoll_.get(), events.data(), kEvents, SleepMs());
    for (int i = 0; i < count; ++i) OnEvent(events[static_cast<size_t>(i)]);
    OnTime();
    // Each one once: who becomes runnable meanwhile comes after the next look at the sockets.
    for (size_t left = runnable_.size(); left > 0; --left) {
      const auto found = guests_.find(runnable_.front());
      runnable_.pop_front();
      if (found == guests_.end()) continue;
      found->second->listed = false;
      RunOne(*found->second);
    }
  }
  while (!guests_.empty()) Close(*guests_.begin()->second);
}

void Relay::Loop::OnEvent(const epoll_event& event) {
  if (event.data.u64 == kOrders) return TakeOrders();
  const auto found = guests_.find(event.data.u64 >> 1);
  if (found == guests_.end()) return;
  Guest& guest = *found->second;
  const bool ends = (event.events & (EPOLLHUP | EPOLLERR)) != 0;
  if (!guest.begun) {
    if (ends || (event.events & EPOLLRDHUP) != 0) Close(guest);
    return;
  }
  const bool readable = ends || (event.events & (EPOLLIN | EPOLLRDHUP)) != 0;
  const bool writable = ends || (event.events & EPOLLOUT) != 0;
  if ((event.data.u64 & 1) == 0) {
    guest.stream.TellOuter(readable, writable);
  } else {
    guest.stream.TellInner(readable, writable);
    if (ends && guest.end_at_ns == 0) guest.end_at_ns = clock_.NowNs() + kLastAnswerNs;
  }
  List(guest);
}

void Relay::Loop::List(Guest& guest) {
  if (std::exchange(guest.listed, true)) return;
  runnable_.push_back(guest.id);
}

void Relay::Loop::WakeAt(Guest& guest, uint64_t at_ns) {
  if (guest.wake_at_ns == at_ns) return;
  if (guest.wake_at_ns != 0) timers_.erase({guest.wake_at_ns, guest.id});
  guest.wake_at_ns = at_ns;
  if (at_ns != 0) timers_.emplace(at_ns, guest.id);
}

// Begins handshakes whose turn has come, ends those and the last answers whose time is up, and goes
// on with who was paused.
void Relay::Loop::OnTime() {
  const uint64_t now_ns = clock_.NowNs();
  while (!timers_.empty() && timers_.begin()->first <= now_ns) {
    Guest& guest = *guests_.at(timers_.begin()->second);
    WakeAt(guest, 0);
    if (!std::exchange(guest.begun, true)) {
      WakeAt(guest, now_ns + options_.handshake_timeout_ns);
      List(guest);
    } else if (guest.end_at_ns != 0 && guest.end_at_ns <= now_ns) {
      Close(guest);
    } else if (guest.stream.state() == Relayed::State::kShaking) {
      counts.strangers.Add(1);
      Refuse(guest, "the handshake took too long");
      Close(guest);
    } else {
      List(guest);
    }
  }
}

void Relay::Loop::Enter(int fd, const Peer& peer, Turnstile::Ticket ticket) {
  OwnedFd owned(fd);
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  getpeername(fd, reinterpret_cast<sockaddr*>(&address), &length);
  const std::string host = GuestBook::HostOf(address);
  const uint64_t now_ns = clock_.NowNs();
  if (draining_) return;
  const auto begins_ns = book_.EnterHost(host, now_ns);
  if (!begins_ns.has_value()) {
    counts.turned_away.Add(1);
    if (lines_.Take(1, now_ns)) {
      Log(LogLevel::kWarning,
          absl::StrCat("grpc tls (", peer.text, "): refused: this host has ",
                       options_.connections_per_host, " connections (grpc.connections_per_host)"));
    }
    return;
  }
  const uint64_t id = ++last_id_;
  auto guest = std::make_unique<Guest>(std::move(owned), keeper_.Current(), options_.frame_max);
  guest->id = id;
  guest->name = absl::StrCat("grpc tls ", id, " (", peer.text, "): ");
  guest->host = host;
  guest->peer = peer;
  guest->ticket = std::move(ticket);
  Guest& entered = *guests_.emplace(id, std::move(guest)).first->second;
  if (!Watch(fd, OuterKey(id))) return Close(entered);
  WakeAt(entered, std::max(*begins_ns, now_ns + 1));
}

void Relay::Loop::Drain() {
  draining_ = true;
  std::vector<Guest*> shaking;
  for (const auto& [id, guest] : guests_) {
    if (guest->stream.state() == Relayed::State::kShaking) shaking.push_back(guest.get());
  }
  for (Guest* guest : shaking) Close(*guest);
}

void Relay::Loop::RunOne(Guest& guest) {
  const bool more = guest.stream.Run(clock_.NowNs());
  switch (guest.stream.state()) {
    case Relayed::State::kShaking:
      return;
    case Relayed::State::kKnown:
      return LetIn(guest);
    case Relayed::State::kOpen:
      WakeAt(guest, Sooner(guest.stream.paused_until_ns(), guest.end_at_ns));
      if (more) List(guest);
      return;
    case Relayed::State::kOver:
      break;
  }
  if (guest.holder == nullptr) {
    counts.strangers.Add(1);
    Refuse(guest, guest.stream.why());
  } else if (guest.stream.offence() != Offence::kNone) {
    counts.offenders.Add(1);
    const uint64_t out_ns = book_.Offend(*guest.holder, clock_.NowNs());
    Refuse(guest, absl::StrCat(guest.stream.why(), "; its certificate is kept out for ",
                               out_ns / kMillisecond, " ms"));
  }
  Close(guest);
}

// Its certificate is good: gRPC gets the other end.
void Relay::Loop::LetIn(Guest& guest) {
  const std::string& who = guest.stream.peer_name();
  const std::string text = absl::StrCat(guest.peer.text, " ", Quote(who));
  guest.name = absl::StrCat("grpc tls ", guest.id, " (", text, "): ");
  guest.holder = book_.EnterHolder(who, clock_.NowNs());
  if (guest.holder == nullptr) {
    counts.kept_out.Add(1);
    Refuse(guest, "refused: its certificate is kept out for what it did");
    return Close(guest);
  }
  const bool admin =
      std::find(options_.admins.begin(), options_.admins.end(), who) != options_.admins.end();
  guest.row = Callers::Row(callers_, {{Identity::Kind::kCertificate, who, admin}, text});
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
    Refuse(guest, absl::StrCat("refused: no descriptor is free: ", std::strerror(errno)));
    return Close(guest);
  }
  OwnedFd ours(ends[0]);
  OwnedFd theirs(ends[1]);
  const int inner = ours.get();
  if (auto status = guest.row.Bind(inner); !status.ok() || !Watch(inner, InnerKey(guest.id))) {
    Refuse(guest, absl::StrCat("refused: ", status.message(), " ", std::strerror(errno)));
    return Close(guest);
  }
  WakeAt(guest, 0);
  counts.let_in.Add(1);
  Log(LogLevel::kInfo, absl::StrCat(guest.name, "connected", admin ? ", may control" : ""));
  guest.stream.Open(std::move(ours), *guest.holder);
  deliver_(theirs.Release());
  List(guest);
}

void Relay::Loop::Refuse(const Guest& guest, absl::string_view why) {
  if (lines_.Take(1, clock_.NowNs())) Log(LogLevel::kWarning, absl::StrCat(guest.name, why));
}

void Relay::Loop::Close(Guest& guest) {
  if (guest.stream.inner() >= 0) Log(LogLevel::kInfo, absl::StrCat(guest.name, "closed"));
  WakeAt(guest, 0);
  if (guest.holder != nullptr) book_.LeaveHolder(*guest.holder);
  book_.LeaveHost(guest.host, !guest.begun);
  guests_.erase(guest.id);
}

Relay::Relay(Clock& clock, RelayOptions options, std::shared_ptr<const TlsContext> context,
             Callers& callers, Deliver deliver)
    : loop_(std::make_unique<Loop>(clock, std::move(options), std::move(context), callers,
                                   std::move(deliver))) {}

Relay::~Relay() = default;

absl::Status Relay::Start() { return loop_->Start(); }

void Relay::Enter(int fd, const Peer& peer, Turnstile::Ticket ticket) {
  loop_->Send([loop = loop_.get(), fd, peer, ticket = std::move(ticket)]() mutable {
    loop->Enter(fd, peer, std::move(ticket));
  });
}

void Relay::Reload() {
  loop_->Send([loop = loop_.get()] { loop->Reload(); });
}

void Relay::Drain() {
  loop_->Send([loop = loop_.get()] { loop->Drain(); });
}

void Relay::Stop() {
  loop_->Send([loop = loop_.get()] { loop->Stop(); });
  loop_->Join();
}

const RelayCounts& Relay::counts() const { return loop_->counts; }

}  // namespace sluice::rpc
