// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/stages/traffic.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <span>

#include "core/check.h"
#include "proto/nbd_transmission.h"

namespace sluice::bench {
namespace {

constexpr size_t kStampBytes = sizeof(uint64_t);

uint64_t StampOf(uint64_t offset) { return (offset + 1) * 0x9e3779b97f4a7c15; }

std::vector<uint64_t> Offsets(Order order, size_t count) {
  const uint64_t step = order == Order::kRandom ? 2 * kPage : kPage;
  std::vector<uint64_t> offsets(order == Order::kRandom ? kDiskBytes / step : count);
  for (size_t i = 0; i < offsets.size(); ++i) offsets[i] = i * step;
  if (order == Order::kRandom) std::shuffle(offsets.begin(), offsets.end(), std::mt19937_64(1));
  SLUICE_CHECK(count <= offsets.size());
  offsets.resize(count);
  return offsets;
}

}  // namespace

std::vector<Batch> MakeBatches(nbd::Command command, Order order, size_t count) {
  const std::vector<uint64_t> offsets = Offsets(order, count * kBatch);
  std::vector<Batch> batches(count);
  for (size_t i = 0; i < offsets.size(); ++i) {
    Batch& batch = batches[i / kBatch];
    batch.command = command;
    batch.cookies += offsets[i];
    const size_t at = batch.bytes.size();
    batch.bytes.resize(at + nbd::kRequestBytes);
    nbd::EncodeRequest({0, command, offsets[i], offsets[i], kPage},
                       std::span(batch.bytes).subspan(at).first<nbd::kRequestBytes>());
    if (command != nbd::Command::kWrite) continue;
    const uint64_t stamp = StampOf(offsets[i]);
    batch.bytes.resize(batch.bytes.size() + kPage, 0x5a);
    std::memcpy(batch.bytes.data() + at + nbd::kRequestBytes, &stamp, kStampBytes);
  }
  return batches;
}

void ReplyReader::Expect(const Batch& batch, bool zeroes) {
  SLUICE_CHECK(done());
  reads_ = batch.command == nbd::Command::kRead;
  zeroes_ = zeroes;
  left_ = kBatch;
  cookies_ = batch.cookies;
}

void ReplyReader::Take(const Segment* from, size_t count) {
  const size_t head = nbd::kSimpleReplyBytes + (reads_ ? kStampBytes : 0);
  for (size_t i = 0; i < count; ++i) {
    const auto* at = static_cast<const uint8_t*>(from[i].iov_base);
    size_t size = from[i].iov_len;
    while (size > 0) {
      const size_t part = std::min(size, skip_ > 0 ? skip_ : head - have_);
      if (skip_ > 0) {
        skip_ -= part;
      } else {
        std::memcpy(head_ + have_, at, part);
        have_ += part;
        if (have_ == head) CheckHead();
      }
      at += part;
      size -= part;
    }
  }
}

void ReplyReader::CheckHead() {
  const auto reply = nbd::DecodeSimpleReply(ConstByteSpan(head_).first(nbd::kSimpleReplyBytes));
  SLUICE_CHECK(reply && reply->error == nbd::Error::kNone && left_ > 0);
  cookies_ -= reply->cookie;
  --left_;
  SLUICE_CHECK(left_ > 0 || cookies_ == 0);
  have_ = 0;
  if (!reads_) return;
  uint64_t stamp = 0;
  std::memcpy(&stamp, head_ + nbd::kSimpleReplyBytes, kStampBytes);
  SLUICE_CHECK(stamp == (zeroes_ ? 0 : StampOf(reply->cookie)));
  skip_ = kPage - kStampBytes;
}

}  // namespace sluice::bench
