// SPDX-License-Identifier: Apache-2.0
#include "client/bench/load.h"

#include <algorithm>

#include "client/bench/pattern.h"

namespace sluice::bench {

Load::Load(const Options& options, const Region& region, Coverage* coverage)
    : options_(options), region_(region), coverage_(coverage), flight_(options.depth) {
  if (options.changes() && options.mode.change == nbd::Command::kWrite) {
    payloads_.resize(size_t{options.block_size} * (options.verify ? options.depth : 1));
    FillPattern(options.seed, 0, payloads_);
  }
}

void Load::Begin(const Workload& workload, Tally& tally) {
  workload_ = workload;
  tally_ = &tally;
  exhausted_ = false;
}

void Load::Resume(uint64_t now_ns, uint64_t deadline_ns) {
  if (exhausted_) return;
  tally_->begin_ns = std::min(tally_->begin_ns, now_ns);
  exhausted_ = now_ns >= deadline_ns;
}

Request* Load::Take(uint64_t now_ns) {
  if (exhausted_ || flight_.full()) return nullptr;
  Plan plan;
  if (!workload_.Next(plan)) {
    exhausted_ = true;
    return nullptr;
  }
  Request& request = flight_.Take();
  request.command = plan.command;
  request.sent_ns = now_ns;
  const bool flush = plan.command == nbd::Command::kFlush;
  request.offset = flush ? 0 : region_.offset + plan.block * options_.block_size;
  request.length = flush ? 0 : options_.block_size;
  // A run that reads alone checks everything, one that writes what it has written.
  request.checked = plan.command == nbd::Command::kRead && coverage_ != nullptr &&
                    (!options_.changes() || coverage_->Has(plan.block));
  return &request;
}

bool Load::MustBeDurable(const Request& request) const {
  return options_.fua && request.command != nbd::Command::kRead &&
         request.command != nbd::Command::kFlush;
}

ConstByteSpan Load::PayloadFor(const Request& request) {
  if (request.command != nbd::Command::kWrite) return {};
  if (!options_.verify) return payloads_;
  const ByteSpan own = ByteSpan(payloads_).subspan(size_t{request.slot()} * options_.block_size,
                                                   options_.block_size);
  FillPattern(options_.seed, request.offset, own);
  return own;
}

void Load::OnBytes(Request& request, uint64_t offset, ConstByteSpan bytes) {
  if (!request.checked || request.mismatch) return;
  const bool zero = options_.mode.change == nbd::Command::kWriteZeroes;
  const bool match = zero ? IsZero(bytes) : MatchesPattern(options_.seed, offset, bytes);
  if (!match) Mismatch(request);
}

void Load::OnHole(Request& request) {
  const bool zero = options_.mode.change == nbd::Command::kWriteZeroes;
  if (request.checked && !request.mismatch && !zero) Mismatch(request);
}

void Load::Mismatch(Request& request) {
  request.mismatch = true;
  ++tally_->mismatches;
  tally_->first_mismatch = std::min(tally_->first_mismatch, request.offset);
}

void Load::OnDone(Request& request, uint64_t received_ns) {
  Tally& tally = *tally_;
  ++tally.answered;
  tally.end_ns = received_ns;
  tally.latency_ns.Record(received_ns - request.sent_ns);
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
