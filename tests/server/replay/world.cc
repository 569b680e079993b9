// SPDX-License-Identifier: Apache-2.0
#include "tests/server/replay/world.h"

#include <span>

#include "core/check.h"
#include "storage/bufq.h"

namespace sluice::replay {

class World::KeptEpochs final : public rpc::Epochs {
 public:
  KeptEpochs(std::map<std::string, uint64_t>& epochs, Reactor& here)
      : epochs_(epochs), here_(here) {}
  uint64_t Current(const std::string& name) const override {
    const auto found = epochs_.find(name);
    return found == epochs_.end() ? 0 : found->second;
  }
  void Raise(const std::map<std::string, uint64_t>& to, Done done) override {
    for (const auto& [name, epoch] : to) epochs_[name] = epoch;
    here_.Post([done = std::move(done)]() mutable { done(absl::OkStatus()); });
  }

 private:
  std::map<std::string, uint64_t>& epochs_;
  Reactor& here_;
};

World::World() {
  std::vector<std::unique_ptr<Poller>> pollers;
  for (int i = 0; i < 2; ++i) {
    auto poller = std::make_unique<ManualPoller>();
    pollers_.push_back(poller.get());
    pollers.push_back(std::move(poller));
  }
  reactors_ =
      std::make_unique<ReactorSet>(std::move(pollers), clock_, ReactorOptions{1024, 4 * kMiB, 0});
  Start("");
}

World::~World() { Stop(); }

void World::Start(const std::string& image) {
  auto medium = std::make_unique<sim::FaultyMedium>(*pollers_[1], sim::FaultyOptions(), image);
  medium_ = medium.get();
  DiskOptions options;
  options.name = "disk";
  disk_ = std::make_unique<Disk>(options, std::move(medium), *Bufq::Alloc("fcfs", kBufqExact, {}),
                                 reactors_->at(1));
  std::vector<ExportTable::Entry> entries;
  for (const std::string name : {"disk", "slice"}) {
    ExportConfig config;
    config.name = config.volume = name;
    entries.push_back({config, disk_.get(), nullptr, {name, "disk"}});
  }
  exports_ = std::make_unique<ExportTable>(entries, "disk");
  kept_ = std::make_unique<KeptEpochs>(epochs_, reactors_->at(0));

  nbd::DoorOptions nbd;
  nbd.handshake_timeout_ns = nbd.payload_timeout_ns = kSecond * 60;
  nbd.requests = 2;
  door_ = std::make_unique<nbd::Door>(*reactors_, *exports_, nbd, nullptr);
  rpc::SessionOptions session;
  session.window = 64;
  session.running_max = 2;
  registry_ = std::make_unique<rpc::Registry>(
      *reactors_, reactors_->at(0), *exports_, *kept_, rpc::Registry::Options{kLeaseNs, 8, session},
      [this](const Export& exported, bool all, absl::AnyInvocable<void()> done) {
        door_->Admit(exported, 0, std::move(done), all);
      });
  door_->AnnounceWriters(
      [this](std::shared_ptr<const Export> exported, absl::AnyInvocable<void(bool)> done) {
        Reactor& asked = *Reactor::Current();
        reactors_->at(0).Post([this, &asked, exported, done = std::move(done)]() mutable {
          registry_->OnNbdWriter(exported, [&asked, done = std::move(done)](bool may) mutable {
            asked.Post([done = std::move(done), may]() mutable { done(may); });
          });
        });
      });
}

void World::Stop() {
  medium_->Release();
  bool sessions = false;
  bool connections = false;
  reactors_->at(0).Post([&] {
    registry_->Drain([&] { sessions = true; });
    door_->Drain([&] { connections = true; });
  });
  for (int i = 0; i < 10 && !(sessions && connections); ++i) Advance(kSecond);
  SLUICE_CHECK(sessions && connections && disk_->idle());
  registry_ = nullptr;
  door_ = nullptr;
  lines_.clear();
  exports_ = nullptr;
  disk_ = nullptr;
}

// The old server's parts end in order, unseen: what it was about to do when it was killed is not in
// the image.
void World::Restart() {
  const std::string image = medium_->contents();
  const auto epochs = epochs_;
  Stop();
  epochs_ = epochs;
  Start(image);
}

void World::Run() {
  for (int i = 0; i < 60; ++i) {
    reactors_->at(0).Turn();
    reactors_->at(1).Turn();
    medium_->Pump();
  }
}

World::Opened World::Open(const std::string& client, const How& how) {
  rpc::OpenAsk ask;
  ask.export_name = how.at;
  ask.client_id = client;
  ask.mode = how.mode;
  ask.force = how.force;
  ask.epoch = how.epoch;
  ask.identity.kind = Identity::Kind::kUnixSocket;
  auto opened = std::make_shared<std::optional<rpc::OpenAnswer>>();
  On(reactors_->at(0), [this, ask, opened] {
    registry_->Open(ask, [opened](rpc::OpenAnswer answer) { *opened = std::move(answer); });
  });
  return opened;
}

void World::Close(const Opened& session) {
  On(reactors_->at(0), [this, session] {
    registry_->Close((*session)->session_id, (*session)->epoch, [](rpc::Reason) {});
  });
}

Line& World::Attach(const Opened& session, uint64_t attach_seq) {
  Line& line = lines_.emplace_back();
  auto found = registry_->Find((*session)->session_id, (*session)->epoch);
  line.closed = found.refused;
  line.session = std::move(found.session);
  if (line.session == nullptr) return line;
  On(line.session->reactor(), [&line, attach_seq] {
    line.session->Attach(line, attach_seq, [&line](const rpc::Session::Attached& answer) {
      if (answer.refused != rpc::Reason::kNone) line.closed = answer.refused;
    });
  });
  return line;
}

void World::Send(Line& line, std::vector<rpc::OpRequest> ops) {
  if (line.session == nullptr) return;
  line.sent.push_back(std::move(ops));
  On(line.session->reactor(), [&line] {
    if (line.closed == rpc::Reason::kNone) line.session->Submit(line, line.sent.back());
  });
}

void World::Cancel(Line& line, uint64_t op_id) {
  On(line.session->reactor(), [&line, op_id] { line.session->Cancel(line, std::span(&op_id, 1)); });
}

void World::Acknowledge(Line& line, uint64_t op_id) {
  On(line.session->reactor(), [&line, op_id] { line.session->Acknowledge(op_id); });
}

rpc::Reason World::Call(const Opened& session, const rpc::OpRequest& op) {
  Line& line = lines_.emplace_back();
  auto found = registry_->Find((*session)->session_id, (*session)->epoch);
  if (found.refused != rpc::Reason::kNone) return found.refused;
  line.session = std::move(found.session);
  Send(line, {op});
  const auto result = line.results.find(op.op_id);
  return result == line.results.end() ? line.closed : result->second;
}

rpc::OpRequest World::Write(uint64_t op_id, uint64_t block, char letter) {
  std::string& data = data_[letter];
  data.assign(kBlock, letter);
  rpc::OpRequest op;
  op.op_id = op_id;
  op.op = Op::kWrite;
  op.offset = block * kBlock;
  op.length = kBlock;
  op.data = data.data();
  return op;
}

nbd::WireClient World::Connect() {
  auto wire = std::make_shared<Wire>();
  Peer peer;
  peer.text = "test";
  door_->Enter(std::make_unique<MemoryTransport>(wire), peer, door_->handshakes().Enter());
  Run();
  return nbd::WireClient(wire);
}

}  // namespace sluice::replay
