// SPDX-License-Identifier: Apache-2.0
#include "client/bench/bench.h"

#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/bench/coverage.h"
#include "client/bench/grpc_worker.h"
#include "client/bench/nbd_worker.h"
#include "client/bench/progress.h"
#include "client/bench/time.h"
#include "client/nbd_connection.h"
#include "core/units.h"

namespace sluice::bench {
namespace {

constexpr uint64_t kMaxVerifiedBlocks = uint64_t{1} << 32;  // a bit each: 512 MiB of memory

absl::Status Cannot(absl::string_view text) { return absl::FailedPreconditionError(text); }

// What an export is and can do, whichever door tells it.
struct Export {
  uint64_t size_bytes = 0;
  uint32_t block_bytes = 1;
  uint32_t max_payload = 0;  // bytes of a read or write
  bool read_only = false, flush = false, fua = false, trim = false, zeroes = false;
  bool multi_conn = false;  // a FLUSH on one connection covers all
};

Export ExportOf(const NbdConnection& connection) {
  return {.size_bytes = connection.size_bytes(),
          .block_bytes = connection.block_size().min,
          .max_payload = connection.block_size().max_payload,
          .read_only = connection.Has(nbd::kReadOnly),
          .flush = connection.Has(nbd::kSendFlush),
          .fua = connection.Has(nbd::kSendFua),
          .trim = connection.Has(nbd::kSendTrim),
          .zeroes = connection.Has(nbd::kSendWriteZeroes),
          .multi_conn = connection.Has(nbd::kCanMultiConn)};
}

Export ExportOf(const VolumeInfo& info) {
  return {.size_bytes = info.size_bytes,
          .block_bytes = info.block_bytes,
          .max_payload = info.max_transfer_bytes,
          .read_only = info.read_only,
          .flush = info.can_flush,
          .fua = info.can_fua,
          .trim = info.can_discard,
          .zeroes = info.can_write_zeroes,
          .multi_conn = true};
}

// What the export says it can do, against what is asked of it.
absl::Status CheckExport(const Options& options, const Export& exported) {
  if (options.changes() && exported.read_only) {
    return Cannot("the export is read-only: use --rw read or randread");
  }
  const nbd::Command change = options.changes() ? options.mode.change : nbd::Command::kRead;
  if (change == nbd::Command::kTrim && !exported.trim) return Cannot("the export has no TRIM");
  if (change == nbd::Command::kWriteZeroes && !exported.zeroes) {
    return Cannot("the export has no WRITE_ZEROES");
  }
  if (options.fua && !exported.fua) return Cannot("the export has no FUA: leave --fua away");
  if (options.flush && !exported.flush) {
    return Cannot("the export has no FLUSH: leave --flush away");
  }
  if (options.block_size % exported.block_bytes != 0 ||
      options.offset % exported.block_bytes != 0) {
    return Cannot(absl::StrCat("the export's blocks are ", exported.block_bytes,
                               " bytes: --block-size and --offset are multiples of it"));
  }
  const bool payload = change == nbd::Command::kRead || change == nbd::Command::kWrite;
  if (payload && options.block_size > exported.max_payload) {
    return Cannot(absl::StrCat("the server takes at most ", exported.max_payload,
                               " bytes in a request: choose a smaller --block-size"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Region> RegionOf(const Options& options, uint64_t size) {
  if (options.offset > size || options.size > size - options.offset) {
    return Cannot(
        absl::StrCat("the export has ", size, " bytes: --offset and --size reach beyond its end"));
  }
  const uint64_t bytes = options.size != 0 ? options.size : size - options.offset;
  const Region region{options.offset, bytes / options.block_size};
  if (region.blocks < options.connections) {
    return Cannot(absl::StrCat("the region of ", bytes, " bytes has not one block of ",
                               options.block_size, " for each connection"));
  }
  if (options.verify && region.blocks > kMaxVerifiedBlocks) {
    return Cannot(absl::StrCat("--verify keeps track of at most ", kMaxVerifiedBlocks,
                               " blocks: choose a smaller --size or a larger --block-size"));
  }
  return region;
}

class Bench {
 public:
  explicit Bench(const Options& options) : options_(options) {}

  absl::Status Connect() { return IsSluiceUri(options_.uri_text) ? ConnectGrpc() : ConnectNbd(); }
  Result Measure();

 private:
  using MakeWorkload = std::function<Workload(uint32_t connection)>;

  absl::Status ConnectNbd();
  absl::Status ConnectGrpc();
  // Of the first connection: what all go by.
  absl::Status Check(const Export& exported);
  // All connections through one phase, each worker on a thread of its own.
  absl::Status Phase(const char* name, uint64_t time_ns, const MakeWorkload& make);
  absl::Status Load(const char* name, uint64_t time_ns, uint64_t requests);
  absl::Status Flush();
  absl::Status ReadBack();
  Tally TakeTally();

  const Options& options_;
  Region region_;
  bool multi_conn_ = false;
  std::unique_ptr<Coverage> coverage_;
  std::vector<std::unique_ptr<Worker>> workers_;
  Progress progress_;
};

absl::Status Bench::Check(const Export& exported) {
  if (absl::Status s = CheckExport(options_, exported); !s.ok()) return s;
  const auto region = RegionOf(options_, exported.size_bytes);
  if (!region.ok()) return region.status();
  region_ = *region;
  multi_conn_ = exported.multi_conn;
  if (options_.verify) coverage_ = std::make_unique<Coverage>(region_.blocks);
  return absl::OkStatus();
}

absl::Status Bench::ConnectNbd() {
  std::vector<NbdWorker*> workers;
  for (uint32_t i = 0; i < options_.threads; ++i) {
    auto worker = std::make_unique<NbdWorker>(options_);
    workers.push_back(worker.get());
    workers_.push_back(std::move(worker));
  }
  for (uint32_t i = 0; i < options_.connections; ++i) {
    auto connection = OpenNbd(options_.uri, {.structured = options_.structured},
                              static_cast<int>((options_.patience_ns + kSecond - 1) / kSecond));
    if (!connection.ok()) return connection.status();
    if (i == 0) {
      if (absl::Status s = Check(ExportOf(*connection)); !s.ok()) return s;
    }
    workers[i % options_.threads]->Add(
        std::make_unique<Stream>(*std::move(connection), options_, region_, coverage_.get()));
  }
  return absl::OkStatus();
}

absl::Status Bench::ConnectGrpc() {
  const uint32_t n = options_.threads;
  for (uint32_t i = 0; i < n; ++i) {
    auto worker = GrpcWorker::Connect(options_, (options_.connections + n - 1 - i) / n);
    if (!worker.ok()) return worker.status();
    if (i == 0) {
      if (absl::Status s = Check(ExportOf((*worker)->transport().info())); !s.ok()) return s;
    }
    (*worker)->Prepare(region_, coverage_.get());
    workers_.push_back(*std::move(worker));
  }
  return absl::OkStatus();
}

absl::Status Bench::Phase(const char* name, uint64_t time_ns, const MakeWorkload& make) {
  Control control;
  control.deadline_ns = time_ns == 0 ? UINT64_MAX : NowNs() + time_ns;
  for (auto& worker : workers_) worker->ResetTally();
  for (uint32_t i = 0; i < options_.connections; ++i) {
    Worker& worker = *workers_[i % options_.threads];
    worker.load(i / options_.threads).Begin(make(i), worker.tally());
  }
  std::vector<absl::Status> statuses(workers_.size());
  std::vector<std::thread> threads;
  progress_.Begin(workers_.size());
  for (size_t i = 0; i < workers_.size(); ++i) {
    threads.emplace_back([this, &control, &statuses, i] {
      statuses[i] = workers_[i]->Run(control);
      progress_.WorkerDone();
    });
  }
  progress_.Watch(name, time_ns, options_.block_size, control, [this] {
    uint64_t answered = 0;
    for (const auto& worker : workers_) answered += worker->answered_so_far();
    return answered;
  });
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& status : statuses) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Bench::Load(const char* name, uint64_t time_ns, uint64_t requests) {
  return Phase(name, time_ns, [&](uint32_t i) {
    const uint64_t n = options_.connections;
    const uint64_t share = requests / n + (i < requests % n ? 1 : 0);
    return Workload::Load(options_, region_, i, requests == 0 ? UINT64_MAX : share);
  });
}

// One connection's FLUSH covers all when the export says so; else each has its own.
absl::Status Bench::Flush() {
  absl::Status status = Phase("flush", 0, [&](uint32_t i) {
    return i == 0 || !multi_conn_ ? Workload::Flush() : Workload();
  });
  if (!status.ok()) return status;
  for (const auto& worker : workers_) {
    if (worker->tally().errors > 0) {
      return absl::DataLossError(
          absl::StrCat("FLUSH failed with ",
                       nbd::ErrorName(worker->tally().errors_by_code.begin()->first).data(),
                       ": nothing of this run is known to be durable; look into the server's log"));
    }
  }
  return absl::OkStatus();
}

absl::Status Bench::ReadBack() {
  return Phase("verify", 0,
               [&](uint32_t i) { return Workload::ReadBack(options_, region_, i, *coverage_); });
}

Tally Bench::TakeTally() {
  Tally sum;
  for (const auto& worker : workers_) sum.Merge(worker->tally());
  return sum;
}

Result Bench::Measure() {
  Result result;
  const auto seconds = [](uint64_t begin_ns, uint64_t end_ns) {
    return end_ns > begin_ns ? static_cast<double>(end_ns - begin_ns) / kSecond : 0.0;
  };
  if (options_.warmup_ns > 0) {
    result.status = Load("warm-up", options_.warmup_ns, 0);
    if (result.status.ok() && options_.flush && !progress_.interrupted()) result.status = Flush();
  }
  if (result.status.ok() && !progress_.interrupted()) {
    result.status = Load("run", options_.time_ns, options_.requests);
    result.tally = TakeTally();
    result.seconds = seconds(result.tally.begin_ns, result.tally.end_ns);
  }
  result.interrupted = progress_.interrupted();
  if (result.status.ok() && options_.flush) {
    result.status = Flush();
    if (result.status.ok()) {
      result.durable_seconds = seconds(result.tally.begin_ns, TakeTally().end_ns);
    }
  }
  if (result.status.ok() && options_.verify && options_.changes() && !result.interrupted) {
    result.status = ReadBack();
    result.read_back = TakeTally();
  }
  result.interrupted = progress_.interrupted();
  for (auto& worker : workers_) {
    if (result.status.ok()) worker->Close();
  }
  return result;
}

}  // namespace

double Result::iops() const {
  return seconds > 0 ? static_cast<double>(tally.answered - tally.errors) / seconds : 0;
}

double Result::bytes_per_second() const {
  return seconds > 0 ? static_cast<double>(tally.bytes) / seconds : 0;
}

std::optional<double> Result::durable_iops() const {
  if (!durable_seconds || *durable_seconds <= 0) return std::nullopt;
  return static_cast<double>(tally.answered - tally.errors) / *durable_seconds;
}

double Result::cpu_us_per_request() const {
  if (tally.answered == 0) return 0;
  return static_cast<double>(tally.cpu_ns) / kMicrosecond / static_cast<double>(tally.answered);
}

bool Result::good() const {
  return status.ok() && tally.errors == 0 && read_back.errors == 0 && mismatches() == 0;
}

absl::StatusOr<Result> Run(const Options& options) {
  Bench bench(options);
  if (absl::Status status = bench.Connect(); !status.ok()) return status;
  return bench.Measure();
}

}  // namespace sluice::bench
