// SPDX-License-Identifier: Apache-2.0
// A server without its sockets: both doors' real parts over a real disk on a drive that can hang,
// with what survives kill -9 (the drive's bytes, the epochs), turned by hand.
//
// A session has two ops at the disk at one time and an NBD connection two requests; what comes
// behind these waits above the disk, which is where a late write comes from.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/units.h"
#include "server/grpc/registry.h"
#include "server/nbd/door.h"
#include "storage/disk.h"
#include "tests/server/wire_client.h"
#include "tests/sim/faulty_medium.h"

namespace sluice::replay {

inline constexpr uint64_t kLeaseNs = 30 * kSecond;
inline constexpr uint32_t kBlock = 4096;

// A stream's, or a unary call's, end at its session. A message that arrives when it was closed is
// dropped, as the door does it.
struct Line final : rpc::Party {
  void OnResult(const rpc::OpResult& result, const Bio*) noexcept override {
    results[result.op_id] = result.reason;
  }
  void OnTaken() noexcept override {}
  void OnClosed(rpc::Reason why) noexcept override { closed = why; }

  std::shared_ptr<rpc::Session> session;
  std::list<std::vector<rpc::OpRequest>> sent;
  std::map<uint64_t, rpc::Reason> results;
  rpc::Reason closed = rpc::Reason::kNone;
};

class World {
 public:
  World();
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // kill -9, and a new start on what is left.
  void Restart();

  void Hang() { medium_->Hold(); }
  void Resume() {
    medium_->Release();
    Run();
  }
  // Everything goes on until nothing moves.
  void Run();
  void Advance(uint64_t ns) {
    clock_.Advance(ns);
    Run();
  }

  // --- sessions ---
  struct How {
    rpc::Mode mode = rpc::Mode::kReadWrite;
    bool force = false;
    uint64_t epoch = 0;  // that is presented
    std::string at = "disk";
  };
  // The answer comes when it can: see opened().
  using Opened = std::shared_ptr<std::optional<rpc::OpenAnswer>>;
  Opened Open(const std::string& client, const How& how);
  Opened Open(const std::string& client) { return Open(client, How()); }
  void Close(const Opened& session);
  // A stream that attaches with that number.
  Line& Attach(const Opened& session, uint64_t attach_seq);
  void Send(Line& line, std::vector<rpc::OpRequest> ops);
  void Cancel(Line& line, uint64_t op_id);
  void Acknowledge(Line& line, uint64_t op_id);
  // One op by a unary call, with the id and the epoch of that session.
  rpc::Reason Call(const Opened& session, const rpc::OpRequest& op);

  // A write of a block of that letter.
  rpc::OpRequest Write(uint64_t op_id, uint64_t block, char letter);

  // --- NBD ---
  nbd::WireClient Connect();

  // What the drive holds: the block's letter, 0 where it was never written.
  char Block(uint64_t block) const { return medium_->contents()[block * kBlock]; }

 private:
  class KeptEpochs;

  void Start(const std::string& image);
  void Stop();
  void On(Reactor& reactor, absl::AnyInvocable<void()> work) {
    reactor.Post(std::move(work));
    Run();
  }

  ManualClock clock_;
  std::vector<ManualPoller*> pollers_;
  std::unique_ptr<ReactorSet> reactors_;
  std::map<std::string, uint64_t> epochs_;  // durable
  std::map<char, std::string> data_;

  sim::FaultyMedium* medium_ = nullptr;
  std::unique_ptr<Disk> disk_;
  std::unique_ptr<ExportTable> exports_;
  std::unique_ptr<KeptEpochs> kept_;
  std::unique_ptr<nbd::Door> door_;
  std::unique_ptr<rpc::Registry> registry_;
  std::list<Line> lines_;
};

}  // namespace sluice::replay
