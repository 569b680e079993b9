// SPDX-License-Identifier: Apache-2.0
// A volume over NBD: spreads operations over its connections, keeps overlapping writes in order,
// and brings lost connections back by the rules of sluice/volume.h. On the I/O thread but for
// Open() and PrepareToStop().
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "client/nbd_connection.h"
#include "client/sdk/flush_doubts.h"
#include "client/sdk/nbd_link.h"
#include "client/sdk/range_guard.h"
#include "client/sdk/reconnect.h"
#include "client/sdk/transport.h"
#include "client/uri.h"

SLUICE_SDK_BEGIN
namespace internal {

class NbdTransport final : public Transport, private NbdLink::Owner {
 public:
  // Opens all connections; the links come up by Begin().
  static Result<std::unique_ptr<NbdTransport>> Open(Engine& engine, const NbdUri& uri,
                                                    const Options& options);

  // On the I/O thread, before the first Start().
  void Begin();

  IoThread& thread() override { return engine_; }
  const VolumeInfo& info() const override { return info_; }
  uint32_t max_length(OpKind kind) const override;
  void Start(Op& op) override;
  void PrepareToStop() override;
  void Stop() override;

 private:
  struct Lane {
    std::unique_ptr<NbdLink> link;
    std::unique_ptr<Reconnect> reconnect;
    NbdConnection opened;          // until Begin()
    std::vector<Op*> limbo;        // unanswered writes, to be sent again when it is back
    std::vector<uint64_t> ghosts;  // where unanswered writes may yet be done, until then
  };

  NbdTransport(Engine& engine, const Options& options) : engine_(engine), options_(options) {}

  void OnAnswered(NbdLink& link, Op& op, Status status) override;
  void OnLost(NbdLink& link, const Status& why) override;
  void OnReconnected(size_t lane, absl::StatusOr<NbdConnection> connection);
  void Sort(Lane& lane, const NbdLink::Orphan& orphan, const Status& why);
  void GiveUp(const Status& why);
  // Every operation ends with `why`, those that may be done with kUnknownOutcome.
  void Fail(const Status& why);
  void Pump();
  NbdLink* LeastLoaded();
  // Of an op that has entered: leaves the guard, if it is one that changes, and ends.
  void End(Op& op, Status status);
  void Release(uint64_t offset);
  void Tell(Event event, const std::string& text);

  Engine& engine_;
  const Options options_;
  VolumeInfo info_;
  std::vector<Lane> lanes_;

  RangeGuard guard_;
  std::deque<Op*> waiting_;
  Status failure_;  // ok while the volume works
  FlushDoubts doubts_;
};

// Connects and begins. Blocks; not on the I/O thread.
Result<std::unique_ptr<Transport>> OpenNbdTransport(Engine& engine, const NbdUri& uri,
                                                    const Options& options);

}  // namespace internal
SLUICE_SDK_END
