// SPDX-License-Identifier: Apache-2.0
// session/parse_...: 32 received requests become bios at the target. session/reply_...: their bios
// come home and their replies are built. session/send_...: the replies are handed out and retired.
#include "server/nbd/session.h"

#include <cstring>
#include <memory>
#include <vector>

#include "tests/bench/stages/devices.h"
#include "tests/bench/stages/loop.h"
#include "tests/bench/stages/phase.h"
#include "tests/bench/stages/traffic.h"

namespace sluice::bench {
namespace {

enum Phase { kParse, kReply, kSend };
constexpr size_t kSegments = 512;

class Sessions final : public nbd::Session::Owner {
 public:
  explicit Sessions(bool structured) {
    auto info = std::make_shared<ExportInfo>();
    info->size_bytes = kDiskBytes;
    nbd::Negotiated negotiated;
    negotiated.exported = info;
    negotiated.structured_replies = structured;
    session = std::make_unique<nbd::Session>(loop.reactor(), target, std::move(negotiated),
                                             nbd::Session::Options{}, *this, stats);
  }
  ~Sessions() { SLUICE_CHECK(session->idle()); }
  void OnSessionChanged() noexcept override {}

  // Puts bytes where the session wants them.
  void Receive(const std::vector<uint8_t>& bytes) {
    Segment to[kSegments];
    const size_t count = session->ReceiveInto(to, kSegments);
    size_t at = 0;
    for (size_t i = 0; i < count && at < bytes.size(); ++i) {
      const size_t part = std::min(to[i].iov_len, bytes.size() - at);
      std::memcpy(to[i].iov_base, bytes.data() + at, part);
      at += part;
    }
    SLUICE_CHECK(at == bytes.size());
  }

  SystemClock clock;
  Loop loop{clock};
  HoldTarget target;
  ClientStats stats;
  std::unique_ptr<nbd::Session> session;
};

void OneSession(benchmark::State& state, Phase chosen, nbd::Command command, bool structured) {
  Sessions s(structured);
  const std::vector<Batch> batches = MakeBatches(command, Order::kRandom, 16);
  const size_t header =
      structured ? nbd::kChunkHeaderBytes + nbd::kOffsetDataBytes : nbd::kSimpleReplyBytes;
  const size_t expected = kBatch * (header + (command == nbd::Command::kRead ? kPage : 0));
  PhaseTimer timer(state, chosen);
  size_t next = 0;
  for (auto _ : state) {
    const Batch& batch = batches[next++ % batches.size()];
    s.loop.On([&] {
      s.Receive(batch.bytes);
      timer.Do(kParse, [&] { s.session->Fed(batch.bytes.size()); });
    });
    SLUICE_CHECK(s.target.held == kBatch);
    s.target.FillReads();
    auto finish = [&] { s.target.FinishAll(); };
    s.loop.Arm(finish);
    timer.Do(kReply, [&] { s.loop.Turn(); });
    s.loop.On([&] {
      timer.Do(kSend, [&] {
        Segment from[kSegments];
        size_t size = 0;
        const size_t count = s.session->Output(from, kSegments);
        for (size_t i = 0; i < count; ++i) size += from[i].iov_len;
        SLUICE_CHECK(size == expected);
        s.session->Sent(size);
      });
    });
    SLUICE_CHECK(s.session->quiet());
    timer.EndIteration();
  }
  SLUICE_CHECK(s.stats.errors.total() == 0);
  state.SetItemsProcessed(state.iterations() * kBatch);
}

#define SESSION_BENCH(name, command, structured)                                         \
  BENCHMARK_CAPTURE(OneSession, parse_##name, kParse, nbd::Command::command, structured) \
      ->Name("session/parse_" #name)                                                     \
      ->UseManualTime();                                                                 \
  BENCHMARK_CAPTURE(OneSession, reply_##name, kReply, nbd::Command::command, structured) \
      ->Name("session/reply_" #name)                                                     \
      ->UseManualTime();                                                                 \
  BENCHMARK_CAPTURE(OneSession, send_##name, kSend, nbd::Command::command, structured)   \
      ->Name("session/send_" #name)                                                      \
      ->UseManualTime()
SESSION_BENCH(read, kRead, false);
SESSION_BENCH(structured_read, kRead, true);
SESSION_BENCH(write, kWrite, false);

}  // namespace
}  // namespace sluice::bench
