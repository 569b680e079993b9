// SPDX-License-Identifier: Apache-2.0
// codec/...: NBD headers, one and in batches.
#include <benchmark/benchmark.h>

#include <array>
#include <span>
#include <vector>

#include "core/check.h"
#include "proto/nbd_transmission.h"
#include "tests/bench/stages/traffic.h"

namespace sluice::bench {
namespace {

void Parse(benchmark::State& state) {
  const auto count = static_cast<uint64_t>(state.range(0));
  std::vector<uint8_t> bytes(count * nbd::kRequestBytes);
  uint64_t expected = 0;
  for (uint64_t i = 0; i < count; ++i) {
    nbd::EncodeRequest(
        {0, nbd::Command::kRead, i, i * kPage, kPage},
        std::span(bytes).subspan(i * nbd::kRequestBytes).first<nbd::kRequestBytes>());
    expected += i + i * kPage + kPage;
  }
  for (auto _ : state) {
    uint64_t sum = 0;
    benchmark::DoNotOptimize(bytes.data());
    benchmark::ClobberMemory();
    for (uint64_t i = 0; i < count; ++i) {
      const auto request = nbd::DecodeRequest(
          ConstByteSpan(bytes).subspan(i * nbd::kRequestBytes, nbd::kRequestBytes));
      SLUICE_CHECK(request && request->command == nbd::Command::kRead);
      sum += request->cookie + request->offset + request->length;
    }
    SLUICE_CHECK(sum == expected);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(Parse)->Name("codec/parse")->Arg(1)->Arg(32);

void SimpleReply(benchmark::State& state) {
  std::array<uint8_t, nbd::kSimpleReplyBytes> bytes;
  uint64_t cookie = 0;
  for (auto _ : state) {
    nbd::EncodeSimpleReply({nbd::Error::kNone, ++cookie}, bytes);
    benchmark::DoNotOptimize(bytes);
  }
  SLUICE_CHECK((nbd::DecodeSimpleReply(bytes) == nbd::SimpleReply{nbd::Error::kNone, cookie}));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(SimpleReply)->Name("codec/simple_reply");

void ChunkHeader(benchmark::State& state) {
  std::array<uint8_t, nbd::kChunkHeaderBytes> bytes;
  nbd::ChunkHeader header{nbd::kChunkDone, nbd::ChunkType::kOffsetData, 0, kPage + 8};
  for (auto _ : state) {
    ++header.cookie;
    nbd::EncodeChunkHeader(header, bytes);
    benchmark::DoNotOptimize(bytes);
  }
  SLUICE_CHECK(nbd::DecodeChunkHeader(bytes) == header);
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(ChunkHeader)->Name("codec/chunk_header");

}  // namespace
}  // namespace sluice::bench
