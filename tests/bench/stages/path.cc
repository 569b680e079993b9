// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/stages/path.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "core/log.h"
#include "core/units.h"
#include "proto/nbd_handshake.h"
#include "storage/null_disk.h"

namespace sluice::bench {

class PeerTransport final : public Transport {
 public:
  explicit PeerTransport(Peer& peer) : peer_(peer) {
    peer.transport = this;
    receive_.context = this;
    receive_.done = [](RingOp& op) noexcept {
      auto& self = *static_cast<PeerTransport*>(op.context);
      self.queued_ = false;
      self.to_ = nullptr;
      self.user_->OnReceived(op.result);
    };
  }
  ~PeerTransport() override {
    SLUICE_CHECK(idle());
    peer_.transport = nullptr;
  }

  void Attach(Reactor& reactor, User& user) noexcept override {
    SLUICE_CHECK(idle());
    poller_ = static_cast<ManualPoller*>(&reactor.poller());
    user_ = &user;
  }
  void Receive(const iovec* to, size_t count) noexcept override {
    SLUICE_CHECK(to_ == nullptr);
    to_ = to;
    count_ = count;
    Deliver();
  }
  void CancelReceive() noexcept override {
    if (to_ != nullptr && !queued_) Queue(-ECANCELED);
  }
  int Send(const iovec* from, size_t count) noexcept override {
    size_t size = 0;
    for (size_t i = 0; i < count; ++i) size += from[i].iov_len;
    if (peer_.talks) {
      peer_.replies.Take(from, count);
    } else {
      for (size_t i = 0; i < count; ++i) {
        peer_.greeting.append(static_cast<const char*>(from[i].iov_base), from[i].iov_len);
      }
    }
    return static_cast<int>(size);
  }
  void AwaitWritable() noexcept override { SLUICE_CHECK(false); }
  bool receiving() const noexcept override { return to_ != nullptr; }
  bool idle() const noexcept override { return to_ == nullptr; }
  void ShutdownWrite() noexcept override {}
  void Abort() noexcept override { Deliver(); }
  bool PeerClosed() const noexcept override { return peer_.closed; }

  // Ends a receive that can end now.
  void Deliver() noexcept {
    if (to_ == nullptr || queued_) return;
    if (peer_.closed) return Queue(0);
    if (!peer_.unread.empty()) Queue(static_cast<int>(Copy()));
  }

 private:
  void Queue(int result) {
    queued_ = true;
    poller_->Complete(receive_, result);
  }
  size_t Copy() {
    size_t copied = 0;
    for (size_t i = 0; i < count_ && !peer_.unread.empty(); ++i) {
      const size_t part = std::min(to_[i].iov_len, peer_.unread.size());
      std::memcpy(to_[i].iov_base, peer_.unread.data(), part);
      peer_.unread = peer_.unread.subspan(part);
      copied += part;
    }
    return copied;
  }

  Peer& peer_;
  ManualPoller* poller_ = nullptr;
  User* user_ = nullptr;
  RingOp receive_;
  bool queued_ = false;
  const iovec* to_ = nullptr;  // null: no receive is under way
  size_t count_ = 0;
};

Path::Path(Backing backing, Clock& clock) : loop_(clock) {
  if (backing == Backing::kNull) {
    target_ = std::make_unique<NullDisk>(kDiskBytes);
  } else {
    DiskOptions options;
    options.depth = kDepth;
    auto bufq = Bufq::Alloc(kBufqDiskDefault, kBufqExact, {});
    SLUICE_CHECK(bufq.ok());
    auto disk = std::make_unique<Disk>(options, std::make_unique<LateMedium>(loop_.poller(), true),
                                       *std::move(bufq), loop_.reactor());
    disk_ = disk.get();
    target_ = std::move(disk);
  }
  ExportConfig config;
  config.name = config.volume = "disk";
  exports_ =
      std::make_unique<ExportTable>(std::vector<ExportTable::Entry>{{config, target_.get()}}, "");
  nbd::DoorOptions options;
  options.handshake_timeout_ns = options.payload_timeout_ns = kSecond;
  door_ = std::make_unique<nbd::Door>(loop_.set(), *exports_, options, nullptr);

  std::vector<uint8_t> hello;
  const auto say = [&hello](const auto& bytes) {
    hello.insert(hello.end(), bytes.begin(), bytes.end());
  };
  say(nbd::EncodeClientFlags(nbd::kFixedNewstyle | nbd::kNoZeroes));
  say(nbd::EncodeOptionHeader({nbd::Option::kExportName, 0}));
  peer_.unread = hello;
  door_->Enter(std::make_unique<PeerTransport>(peer_), sluice::Peer{}, door_->handshakes().Enter());
  TurnUntil([this] {
    return peer_.greeting.size() == nbd::kGreetingBytes + nbd::kExportNameReplyBytes &&
           peer_.transport->receiving();
  });
  peer_.talks = true;
}

Path::~Path() {
  bool drained = false;
  door_->Drain([&drained] { drained = true; });
  loop_.Turn();
  peer_.closed = true;
  if (peer_.transport != nullptr) peer_.transport->Deliver();
  TurnUntil([&] { return drained && door_->inside() == 0; });
}

void Path::Exchange(const Batch& batch) {
  SLUICE_CHECK(peer_.transport != nullptr);
  peer_.replies.Expect(batch, disk_ == nullptr);
  peer_.unread = batch.bytes;
  peer_.transport->Deliver();
  TurnUntil([this] { return peer_.replies.done(); });
}

void LogWarningsOnly() {
  SetLogSink([](LogLevel level, absl::string_view line) {
    if (level < LogLevel::kWarning) return;
    std::fprintf(stderr, "%.*s\n", static_cast<int>(line.size()), line.data());
  });
}

Run::Run(const Workload& workload, Clock& clock)
    : path_(workload.backing, clock),
      batches_(MakeBatches(workload.command, workload.order, kBatches)),
      writes_(MakeBatches(nbd::Command::kWrite, workload.order, kBatches)),
      reads_(MakeBatches(nbd::Command::kRead, workload.order, kBatches)) {
  if (workload.command != nbd::Command::kRead) return;
  for (const Batch& batch : writes_) path_.Exchange(batch);
}

Run::~Run() {
  for (size_t i = 0; i < std::min(next_, kBatches); ++i) path_.Exchange(reads_[i]);
}

}  // namespace sluice::bench
