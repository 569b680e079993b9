// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/stack_world.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/units.h"
#include "tests/sim/log_lines.h"

namespace sluice::sim {
namespace {

constexpr uint64_t kStripeChunk = 16 * kKiB;
constexpr uint64_t kIoTimeout = 4 * kSecond;
constexpr const char* kStrategies[] = {"fcfs",      "disksort", "readprio",
                                       "priocscan", "deadline", "fair"};

}  // namespace

StackWorld::StackWorld(const StackOptions& options)
    : options_(options), rng_(options.seed), errors_(DrawErrors(rng_, options.lie)) {
  std::vector<std::unique_ptr<Poller>> pollers;
  for (int i = 0; i < 2; ++i) {
    auto poller = std::make_unique<ManualPoller>();
    pollers_.push_back(poller.get());
    pollers.push_back(std::move(poller));
  }
  set_ = std::make_unique<ReactorSet>(
      std::move(pollers), clock_,
      ReactorOptions{.credits = 2048, .buffer_bytes = 4 * kMiB, .poll_budget_ns = 0});
  for (uint16_t home = 0; home < 2; ++home) {
    trees_.push_back(MakeTree(home));
    Target& target = *trees_.back().target;
    volumes_.push_back(std::make_unique<StackVolume>(target, target.limits().size / kSector));
    const std::string bad = Image(
        trees_.back(), [&](size_t drive) -> const std::string& { return drives_[drive].bad; });
    for (size_t at = 0; at < bad.size(); at += kSector)
      volumes_[home]->bad.push_back(bad[at] == 'b');
  }
  MakeClients();
}

StackWorld::Errors StackWorld::DrawErrors(Rng& rng, Lie lie) {
  const uint64_t dice = rng.Below(10);
  if (lie == Lie::kLateGhost) return Errors::kRandom;  // where its errors are none in themselves
  return dice < 5   ? Errors::kNone
         : dice < 7 ? Errors::kBadBlocks
         : dice < 9 ? Errors::kRandom
                    : Errors::kHang;
}

StackWorld::~StackWorld() {
  clients_.clear();
  while (!targets_.empty()) targets_.pop_back();
}

void StackWorld::MakeClients() {
  for (uint16_t i = 0; i < 2; ++i) {
    clients_.push_back(MakeSubmitter(*this, i));
    for (uint64_t sessions = rng_.Between(1, 3); sessions > 0; --sessions) {
      clients_.push_back(MakeSession(*this, *volumes_[rng_.Below(2)], i));
    }
  }
}

FaultyOptions StackWorld::DrawDrive() {
  FaultyOptions options;
  options.seed = rng_.Next();
  MediumLimits& limits = options.limits;
  limits.size = rng_.Between(2, 8) * 32 * kKiB;
  limits.block = rng_.PerMille(300) ? 4096 : 512;
  limits.physical_block = limits.block;
  limits.depth = static_cast<uint32_t>(rng_.Between(1, 32));
  limits.segments_max = static_cast<uint32_t>(rng_.Between(kListSegments, 256));
  limits.transfer_max = static_cast<uint32_t>(rng_.Between(1, 32) * 32 * kKiB);
  limits.volatile_cache = !rng_.PerMille(100);
  limits.native_fua = rng_.PerMille(500);
  limits.page_cache = errors_ != Errors::kBadBlocks && rng_.PerMille(200);
  limits.can_trim = rng_.PerMille(700);
  limits.can_zero = rng_.PerMille(700);
  limits.can_fast_zero = limits.can_zero && rng_.PerMille(500);
  options.full_at = static_cast<uint32_t>(rng_.PerMille(300) ? rng_.Between(1, 8) : 1024);
  options.ticks_max = static_cast<uint32_t>(rng_.Between(1, 8));
  options.immediate_per_mille = rng_.PerMille(300) ? (rng_.PerMille(300) ? 1000 : 300) : 0;
  options.short_per_mille = rng_.PerMille(500) ? static_cast<uint32_t>(rng_.Between(1, 100)) : 0;
  if (errors_ == Errors::kRandom) {
    options.error_per_mille = static_cast<uint32_t>(rng_.Between(1, 50));
  }
  return options;
}

StackWorld::Node StackWorld::MakeDisk(uint16_t home) {
  const FaultyOptions faulty = DrawDrive();
  auto medium = std::make_unique<FaultyMedium>(*pollers_[home], faulty);
  Drive drive{medium.get(), nullptr, std::string(faulty.limits.size, '.')};
  for (uint64_t bad = errors_ == Errors::kBadBlocks ? rng_.Between(1, 6) : 0; bad > 0; --bad) {
    const uint32_t block = faulty.limits.block;
    const uint64_t at = rng_.Below(faulty.limits.size / block) * block;
    medium->AddFault({.ops = OpBit(Op::kRead) | OpBit(Op::kWrite) | OpBit(Op::kZero),
                      .offset = at,
                      .length = block});
    drive.bad.replace(at, block, block, 'b');
  }
  // Some drives promise what they cannot do after all.
  if (rng_.PerMille(200)) medium->AddFault({.ops = OpBit(Op::kZero), .error = EOPNOTSUPP});
  if (rng_.PerMille(200)) medium->AddFault({.ops = OpBit(Op::kTrim), .error = EOPNOTSUPP});
  std::unique_ptr<Medium> below = std::move(medium);
  if (options_.lie != Lie::kNone) {
    below = std::make_unique<LyingMedium>(std::move(below), options_.lie, rng_.Next());
  }
  DiskOptions options;
  options.name = "d" + std::to_string(drives_.size());
  options.gather = !rng_.PerMille(100);
  options.bios_max = 8192;
  if (errors_ == Errors::kHang) options.io_timeout_ns = kIoTimeout;
  const char* strategy = kStrategies[rng_.Below(std::size(kStrategies))];
  drawn_ += " " + options.name + "=" + strategy + "/" + std::to_string(faulty.limits.block) + "x" +
            std::to_string(faulty.limits.depth);
  auto disk = std::make_unique<Disk>(options, std::move(below),
                                     *Bufq::Alloc(strategy, kBufqExact, {}), set_->at(home));
  drive.disk = disk.get();
  drives_.push_back(std::move(drive));
  targets_.push_back(std::move(disk));
  return {.target = targets_.back().get(), .disk = drives_.size() - 1};
}

StackWorld::Node StackWorld::MakeVolume(absl::StatusOr<std::unique_ptr<const Geometry>> geometry,
                                        std::vector<Node> legs) {
  SLUICE_CHECK(geometry.ok());
  std::vector<Target*> targets;
  for (const Node& leg : legs) targets.push_back(leg.target);
  Node node{.geometry = geometry->get(), .legs = std::move(legs)};
  const uint16_t home = targets[0]->home();
  targets_.push_back(std::make_unique<Volume>(*std::move(geometry), std::move(targets), home));
  node.target = targets_.back().get();
  return node;
}

StackWorld::Node StackWorld::MakeTree(uint16_t home) {
  const uint64_t shape = rng_.Below(5);
  constexpr const char* kNames[] = {"disk", "slice", "concat", "stripe", "slice of concat"};
  drawn_ += std::string(" ") + kNames[shape] + ":";
  std::vector<Node> legs;
  std::vector<uint64_t> sizes;
  for (uint64_t count = shape < 2 ? 1 : rng_.Between(2, 3); count > 0; --count) {
    legs.push_back(MakeDisk(home));
    sizes.push_back(legs.back().target->limits().size);
  }
  if (shape == 0) return legs[0];
  const auto slice = [&](Node of) {
    const uint64_t size = of.target->limits().size;
    const uint64_t offset = rng_.Below(4) * 8 * kKiB;
    return MakeVolume(MakeSlice(size, offset, size - offset - 8 * kKiB), {std::move(of)});
  };
  if (shape == 1) return slice(std::move(legs[0]));
  if (shape == 3) return MakeVolume(MakeStripe(sizes, kStripeChunk), std::move(legs));
  Node concat = MakeVolume(MakeConcat(sizes), std::move(legs));
  return shape == 2 ? std::move(concat) : slice(std::move(concat));
}

// The bytes of a volume, of those of its drives.
template <typename F>
std::string StackWorld::Image(const Node& node, F&& of_drive) const {
  if (node.geometry == nullptr) return of_drive(node.disk);
  std::vector<std::string> legs;
  for (const Node& leg : node.legs) legs.push_back(Image(leg, of_drive));
  std::string image;
  node.geometry->Map(0, node.geometry->size(), [&](const Piece& piece) {
    image.append(legs[piece.leg], piece.offset, piece.length);
  });
  return image;
}

void StackWorld::Fail(const std::string& why) {
  if (failure_.empty()) failure_ = why;
}

void StackWorld::DrawKind(StackOp& op, StackStream& stream) {
  if (stream.left > 0) {
    op.op = stream.op;
    return;
  }
  const uint64_t dice = rng_.Below(100);
  op.op = dice < 38   ? Op::kRead
          : dice < 80 ? Op::kWrite
          : dice < 86 ? Op::kZero
          : dice < 91 ? Op::kTrim
          : dice < 98 ? Op::kFlush
                      : Op::kCache;
  if (!HasData(op.op) || rng_.PerMille(980)) return;
  stream.op = op.op;
  stream.left = rng_.Between(8, 60);
}

void StackWorld::DrawRange(StackOp& op, StackStream& stream, uint64_t sectors) {
  const bool streaming = stream.left > 0;
  if (streaming) --stream.left;
  op.count = streaming           ? rng_.Between(1, 4)
             : rng_.PerMille(30) ? rng_.Between(1, 256)
                                 : rng_.Between(1, 12);
  op.first = streaming || rng_.PerMille(500) ? stream.near
             : rng_.PerMille(300)            ? rng_.Below(48)
                                             : rng_.Below(sectors);
  if (op.first >= sectors) op.first = rng_.Below(sectors);
  op.count = std::min(op.count, sectors - op.first);
  stream.near = op.first + op.count;
}

StackOp StackWorld::Draw(StackVolume& volume, StackStream& stream) {
  StackOp op;
  ++sent_;
  op.begin = Tick();
  DrawKind(op, stream);
  if (op.op == Op::kFlush) return op;
  DrawRange(op, stream, volume.model.sectors());
  if (!IsWriteType(op.op)) return op;
  if (stream.left == 0 && rng_.PerMille(100)) op.flags |= kFua;
  if (op.op == Op::kZero && rng_.PerMille(300)) op.flags |= kNoHole;
  if (op.op == Op::kZero && rng_.PerMille(200)) op.flags |= kFastZero;
  op.effect = {op.first, op.count, op.op == Op::kWrite ? ++values_ : 0, op.begin};
  volume.model.Begin(op.effect);
  return op;
}

std::string StackWorld::Payload(const StackOp& op) const {
  std::string bytes(op.count * kSector, '\0');
  for (uint64_t i = 0; i < op.count; ++i) {
    Stamp(op.effect.value, op.first + i, bytes.data() + i * kSector);
  }
  return bytes;
}

bool StackWorld::TouchesBad(const StackVolume& volume, const StackOp& op) {
  if (op.op != Op::kRead && op.op != Op::kWrite && op.op != Op::kZero) return false;
  const auto first = volume.bad.begin() + static_cast<ptrdiff_t>(op.first);
  return std::find(first, first + static_cast<ptrdiff_t>(op.count), true) !=
         first + static_cast<ptrdiff_t>(op.count);
}

// Whether a request may end like this: only the guilty fails (R16), and the guilty does.
bool StackWorld::Allowed(const StackVolume& volume, const StackOp& op, int error) const {
  if (error == ENOTSUP) return (op.flags & kFastZero) != 0;
  if (error != 0 && error != EIO) return false;
  if (errors_ == Errors::kRandom || errors_ == Errors::kHang) return true;
  return (error == EIO) == TouchesBad(volume, op);
}

void StackWorld::Answered(StackVolume& volume, const StackOp& op, int error,
                          const std::string& data) {
  ++answered_;
  const uint64_t now = Tick();
  if (!Allowed(volume, op, error)) {
    Fail(std::string(OpName(op.op)) + " of " + std::to_string(op.count) + " sectors at " +
         std::to_string(op.first) + " begun at " + std::to_string(op.begin) + " ended with " +
         std::to_string(error));
  }
  // What hung may yet happen, at any time.
  if (IsWriteType(op.op) && error == EIO && errors_ == Errors::kHang) return;
  if (IsWriteType(op.op)) {
    const bool sure = error == 0 && op.op != Op::kTrim;
    volume.model.End(op.effect, now,
                     !sure                    ? StackModel::How::kMaybe
                     : (op.flags & kFua) != 0 ? StackModel::How::kDurable
                                              : StackModel::How::kDone);
  } else if (error == 0 && op.op == Op::kFlush) {
    volume.model.Flushed(op.begin);
  } else if (error == 0 && op.op == Op::kRead) {
    const std::string wrong = volume.model.CheckRead(op.first, data, op.begin, now);
    if (!wrong.empty()) Fail(wrong + " (read at " + std::to_string(op.begin) + ")");
  }
}

void StackWorld::Dropped(StackVolume& volume, const StackOp& op) {
  const uint64_t now = Tick();
  if (IsWriteType(op.op)) volume.model.End(op.effect, now, StackModel::How::kMaybe);
}

void StackWorld::On(uint16_t reactor, absl::AnyInvocable<void()> work) {
  set_->at(reactor).Post(std::move(work));
  set_->at(reactor).Turn();
}

void StackWorld::Step() {
  const uint64_t dice = rng_.Below(1000);
  if (dice < 400) {
    StackClient& client = *clients_[rng_.Below(clients_.size())];
    On(client.reactor(), [&] { client.Act(options_.ops - std::min(options_.ops, sent_)); });
  } else if (dice < 650) {
    set_->at(static_cast<uint16_t>(rng_.Below(2))).Turn();
  } else if (dice < 980) {
    drives_[rng_.Below(drives_.size())].medium->Pump();
  } else if (dice < 985) {
    SwapStrategy();
  } else if (dice < 990 && errors_ == Errors::kHang) {
    HoldOrRelease();
  } else {
    clock_.Advance(rng_.Below(kSecond));
  }
}

void StackWorld::HoldOrRelease() {
  FaultyMedium& medium = *drives_[rng_.Below(drives_.size())].medium;
  if (rng_.PerMille(500)) {
    medium.Release();
  } else {
    medium.Hold(rng_.PerMille(500) ? kAllOps : OpBit(static_cast<Op>(rng_.Below(kOps))));
  }
}

void StackWorld::SwapStrategy() {
  Disk& disk = *drives_[rng_.Below(drives_.size())].disk;
  auto strategy = *Bufq::Alloc(kStrategies[rng_.Below(std::size(kStrategies))], kBufqExact, {});
  On(disk.home(), [&] {
    if (!disk.SwapBufq(std::move(strategy))->empty()) Fail("a queue kept something when swapped");
  });
}

void StackWorld::CutPower() {
  std::vector<std::string> left;
  for (const Drive& drive : drives_) left.push_back(drive.medium->CrashImage());
  for (size_t i = 0; i < volumes_.size(); ++i) {
    const std::string wrong = volumes_[i]->model.CheckCrash(
        Image(trees_[i], [&](size_t drive) -> const std::string& { return left[drive]; }));
    if (!wrong.empty()) Fail("volume " + std::to_string(i) + ": " + wrong);
  }
}

bool StackWorld::Settle() {
  for (const Drive& drive : drives_) drive.medium->Release();
  for (int i = 0; i < 20'000; ++i) {
    bool quiet = true;
    for (const auto& client : clients_) {
      On(client->reactor(), [&] { client->Drain(); });
      quiet &= client->quiet();
    }
    if (quiet) return true;
    for (const Drive& drive : drives_) drive.medium->Pump();
    for (uint16_t reactor = 0; reactor < 2; ++reactor) set_->at(reactor).Turn();
  }
  return false;
}

// What reads see at the end, and that nothing is left anywhere.
void StackWorld::CheckEnd() {
  for (size_t i = 0; i < volumes_.size(); ++i) {
    const std::string image = Image(trees_[i], [&](size_t drive) -> const std::string& {
      return drives_[drive].medium->contents();
    });
    const uint64_t now = Tick();
    const std::string wrong = volumes_[i]->model.CheckRead(0, image, now, now);
    if (!wrong.empty()) Fail("at the end, volume " + std::to_string(i) + ": " + wrong);
  }
  for (const Drive& drive : drives_) {
    if (!drive.disk->idle()) Fail("disk " + drive.disk->name() + " is not idle");
  }
  for (uint16_t i = 0; i < 2; ++i) {
    Reactor& reactor = set_->at(i);
    if (reactor.bios().used() != 0) Fail("bios are missing");
    if (reactor.bios().reserved() != 0) Fail("a reservation was not given back");
    if (reactor.buffers().free_bytes() != reactor.buffers().bytes()) Fail("buffers are missing");
  }
}

StackResult StackWorld::Run() {
  uint32_t cuts = 0;
  const uint32_t cut_every = options_.ops / 4 + 1;
  while (failure_.empty() && sent_ < options_.ops) {
    Step();
    if (sent_ / cut_every > cuts) {
      ++cuts;
      CutPower();
    }
  }
  // A client that leaves early, and a harness that stops at a failure, must be survived too.
  const bool failed = !failure_.empty();
  const auto leave = [&](StackClient& client) { On(client.reactor(), [&] { client.Leave(); }); };
  for (const auto& client : clients_) {
    if (failed || rng_.PerMille(300)) leave(*client);
  }
  if (!Settle()) {
    Fail("requests are stuck");
    for (const auto& client : clients_) leave(*client);
    SLUICE_CHECK(Settle());
  }
  for (const auto& client : clients_) On(client->reactor(), [&] { client->Close(); });
  for (int i = 0; i < 8; ++i) {
    for (const Drive& drive : drives_) drive.medium->PumpAll();
    for (uint16_t reactor = 0; reactor < 2; ++reactor) set_->at(reactor).Turn();
  }
  if (failure_.empty()) {
    CutPower();
    CheckEnd();
  }
  StackResult result;
  result.failure = failure_;
  result.summary = drawn_ + ", " + std::to_string(answered_) + " answered";
  result.answered = answered_;
  CountReached(result);
  return result;
}

void StackWorld::CountReached(StackResult& result) const {
  for (const Drive& drive : drives_) {
    const DiskStats& stats = drive.disk->stats();
    const GatherStats& gather = drive.disk->gather_stats();
    result.reached["carriers"] += stats.carriers.value();
    result.reached["held runs"] += stats.held.value();
    result.reached["continued transfers"] += stats.continued.value();
    result.reached["riders sent again"] += stats.retried.value();
    result.reached["slow requests"] += stats.slow.value();
    result.reached["refusals"] += drive.medium->refused();
    result.reached["flushes"] += drive.disk->flushes();
    result.reached["failed flushes"] += drive.disk->failed() ? 1 : 0;
    result.reached["runs cut by a flush"] += gather.cut_flush.value();
    result.reached["runs cut by a limit"] += gather.cut_limit.value();
    result.reached["runs cut by FUA"] += gather.cut_class.value();
  }
}

StackResult RunStack(const StackOptions& options) {
  const LogLines log;  // drives that fail are no news here
  return StackWorld(options).Run();
}

}  // namespace sluice::sim
