// SPDX-License-Identifier: Apache-2.0
// The whole way of a request in one thread and without the kernel: a connection of the NBD door
// over a transport of memory, on a reactor turned by hand, before the null disk or a disk over
// memory that answers a turn late. The same requests take the same instructions every time.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "server/export_table.h"
#include "server/nbd/door.h"
#include "server/nbd/transport.h"
#include "storage/disk.h"
#include "tests/bench/stages/loop.h"
#include "tests/bench/stages/traffic.h"

namespace sluice::bench {

// The client's end of the connection. It hands out bytes where they lie and keeps none.
class PeerTransport;
struct Peer {
  PeerTransport* transport = nullptr;  // null: the server has let go
  std::span<const uint8_t> unread;     // by the server
  std::string greeting;                // what came before the first batch
  bool talks = false;                  // past the handshake
  bool closed = false;
  ReplyReader replies;
};

enum class Backing : uint8_t { kNull, kDisk };

class Path {
 public:
  Path(Backing backing, Clock& clock);
  ~Path();
  Path(const Path&) = delete;
  Path& operator=(const Path&) = delete;

  // Sends a batch, turns until all of it is answered, and checks every answer.
  void Exchange(const Batch& batch);

  // Null before the null disk.
  const DiskStats* disk_stats() const { return disk_ == nullptr ? nullptr : &disk_->stats(); }

 private:
  // Fewer than a batch, so that a part of it waits in the bufq.
  static constexpr uint32_t kDepth = 16;

  template <typename F>
  void TurnUntil(F&& done) {
    for (int turns = 0; !done(); ++turns) {
      SLUICE_CHECK(turns < 1000);
      loop_.Turn();
    }
  }

  Loop loop_;
  std::unique_ptr<Target> target_;
  Disk* disk_ = nullptr;
  std::unique_ptr<ExportTable> exports_;
  std::unique_ptr<nbd::Door> door_;
  Peer peer_;
};

// Connections come and go by the thousand here: their lines stay out of the log, warnings do not.
void LogWarningsOnly();

// What is sent again and again.
struct Workload {
  const char* name;
  Backing backing;
  nbd::Command command;
  Order order;
};
inline constexpr Workload kWorkloads[] = {
    {"null_read", Backing::kNull, nbd::Command::kRead, Order::kRandom},
    {"null_write", Backing::kNull, nbd::Command::kWrite, Order::kRandom},
    {"read", Backing::kDisk, nbd::Command::kRead, Order::kRandom},
    {"random_write", Backing::kDisk, nbd::Command::kWrite, Order::kRandom},
    {"contiguous_write", Backing::kDisk, nbd::Command::kWrite, Order::kContiguous},
};

// One workload on its own path: pages are written before they are read, and read when it ends.
class Run {
 public:
  Run(const Workload& workload, Clock& clock);
  ~Run();
  void NextBatch() { path_.Exchange(batches_[next_++ % kBatches]); }
  const DiskStats* disk_stats() const { return path_.disk_stats(); }

 private:
  static constexpr size_t kBatches = 16;

  Path path_;
  const std::vector<Batch> batches_;
  const std::vector<Batch> writes_;  // of the same pages
  const std::vector<Batch> reads_;
  size_t next_ = 0;
};

}  // namespace sluice::bench
