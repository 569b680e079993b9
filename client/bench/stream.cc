// SPDX-License-Identifier: Apache-2.0
#include "client/bench/stream.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "client/bench/pattern.h"
#include "client/bench/time.h"

namespace sluice::bench {

Stream::Stream(NbdConnection connection, const Options& options, const Region& region,
               Coverage* coverage)
    : connection_(std::move(connection)),
      options_(options),
      region_(region),
      coverage_(coverage),
      flight_(options.depth),
      outbox_(options.depth),
      reader_(flight_, *this, connection_.structured()) {
  if (options.changes() && options.mode.change == nbd::Command::kWrite) {
    payloads_.resize(size_t{options.block_size} * (options.verify ? options.depth : 1));
    FillPattern(options.seed, 0, payloads_);
  }
}

void Stream::Begin(const Workload& workload, Tally& tally) {
  workload_ = workload;
  tally_ = &tally;
  exhausted_ = false;
}

absl::Status Stream::Pump(uint64_t deadline_ns) {
  if (!exhausted_) {
    const uint64_t now_ns = NowNs();
    tally_->begin_ns = std::min(tally_->begin_ns, now_ns);
    exhausted_ = now_ns >= deadline_ns;
    Plan plan;
    while (!exhausted_ && !flight_.full() && !outbox_.full()) {
      if (workload_.Next(plan)) {
        Push(plan, now_ns);
      } else {
        exhausted_ = true;
      }
    }
  }
  return outbox_.Send(fd());
}

void Stream::Push(const Plan& plan, uint64_t now_ns) {
  Request& request = flight_.Take();
  request.command = plan.command;
  request.sent_ns = now_ns;
  const bool flush = plan.command == nbd::Command::kFlush;
  request.offset = flush ? 0 : region_.offset + plan.block * options_.block_size;
  request.length = flush ? 0 : options_.block_size;
  const bool read = plan.command == nbd::Command::kRead;
  // A run that reads alone checks everything, one that writes what it has written.
  request.checked =
      read && coverage_ != nullptr && (!options_.changes() || coverage_->Has(plan.block));
  const bool fua = options_.fua && !read && !flush;
  outbox_.Push({.flags = fua ? nbd::kFlagFua : uint16_t{0},
                .command = request.command,
                .cookie = request.cookie,
                .offset = request.offset,
                .length = request.length},
               PayloadFor(request));
}

ConstByteSpan Stream::PayloadFor(const Request& request) {
  if (request.command != nbd::Command::kWrite) return {};
  if (!options_.verify) return payloads_;
  const ByteSpan own = ByteSpan(payloads_).subspan(size_t{request.slot()} * options_.block_size,
                                                   options_.block_size);
  FillPattern(options_.seed, request.offset, own);
  return own;
}

absl::StatusOr<bool> Stream::Receive(bool wait) {
  const ByteSpan room = reader_.Room();
  const ssize_t got = recv(fd(), room.data(), room.size(), wait ? 0 : MSG_DONTWAIT);
  if (got < 0) {
    if (errno == EAGAIN || errno == EINTR) return false;
    return ConnectionLost(errno);
  }
  if (got == 0) return ConnectionLost(0);
  received_ns_ = NowNs();
  if (absl::Status status = reader_.Take(static_cast<size_t>(got)); !status.ok()) return status;
  return true;
}

void Stream::OnData(Request& request, uint64_t offset, ConstByteSpan bytes) {
  if (!request.checked || request.mismatch) return;
  const bool zero = options_.mode.change == nbd::Command::kWriteZeroes;
  const bool match = zero ? IsZero(bytes) : MatchesPattern(options_.seed, offset, bytes);
  if (!match) Mismatch(request);
}

void Stream::OnHole(Request& request, uint64_t, uint32_t) {
  const bool zero = options_.mode.change == nbd::Command::kWriteZeroes;
  if (request.checked && !request.mismatch && !zero) Mismatch(request);
}

void Stream::Mismatch(Request& request) {
  request.mismatch = true;
  ++tally_->mismatches;
  tally_->first_mismatch = std::min(tally_->first_mismatch, request.offset);
}

void Stream::OnDone(Request& request) {
  Tally& tally = *tally_;
  ++tally.answered;
  tally.end_ns = received_ns_;
  tally.latency_ns.Record(received_ns_ - request.sent_ns);
  if (request.error != nbd::Error::kNone) {
    ++tally.errors;
    ++tally.errors_by_code[request.error];
  } else {
    tally.bytes += request.length;
    if (request.checked) ++tally.checked;
    const bool changes =
        request.command == nbd::Command::kWrite || request.command == nbd::Command::kWriteZeroes;
    if (coverage_ != nullptr && changes) {
      coverage_->Set((request.offset - region_.offset) / options_.block_size);
    }
  }
  flight_.Release(request);
}

}  // namespace sluice::bench
