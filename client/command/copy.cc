// SPDX-License-Identifier: Apache-2.0
// `sluice copy` and `sluice verify`. A copy goes window by window: all of a window is written, then
// flushed, then noted in the journal. A window in which a write or the flush ends as unknown,
// because a connection was lost, is written again as a whole: that is what makes copies survive
// restarts of a server.
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/command/commands.h"
#include "client/command/compare.h"
#include "client/command/endpoint.h"
#include "client/command/journal.h"
#include "client/command/meter.h"
#include "client/command/parallel.h"
#include "client/command/text.h"
#include "core/units.h"

namespace sluice::command {
namespace {

constexpr uint64_t kWindowBytes = 256 * kMiB;
constexpr int kMaxAttempts = 5;

struct Totals {
  std::atomic<uint64_t> data = 0, zero = 0;  // bytes written, and zeroed or left blank
};

class Copying {
 public:
  Copying(Endpoint& source, Endpoint& target, const Options& options, BufferPool& buffers,
          Meter& meter)
      : source_(source), target_(target), options_(options), buffers_(buffers), meter_(meter) {}

  // With the flush.
  Status CopyWindow(uint64_t offset, uint64_t length) {
    Status status;
    for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
      status = CopyOnce(offset, length, attempt > 0);
      if (status.code() != StatusCode::kUnknownOutcome) break;
      meter_.Add(-static_cast<int64_t>(window_done_));
    }
    return status;
  }

  const Totals& totals() const { return totals_; }

 private:
  Status CopyOnce(uint64_t offset, uint64_t length, bool again) {
    window_done_ = 0;
    const auto extents = source_.Extents(offset, length);
    if (!extents.ok()) return extents.status();
    const uint64_t align = std::max(source_.block_bytes(), target_.block_bytes());
    Status status = ForEach(
        PiecesOf(*extents, align), options_.jobs, buffers_,
        [&](const Piece& piece, Buffer& buffer) { return CopyPiece(piece, buffer, again); });
    return status.ok() ? target_.Flush() : status;
  }

  Status CopyPiece(const Piece& piece, Buffer& buffer, bool again) {
    bool zero = piece.zero;
    const std::span<std::byte> data = buffer.span().first(zero ? 0 : piece.length);
    if (!zero) {
      if (Status status = source_.Read(piece.offset, data); !status.ok()) return status;
      zero = AllZero(data);
    }
    const bool done = zero && target_.blank() && !again;
    Status status = done   ? Status()
                    : zero ? target_.Zero(piece.offset, piece.length)
                           : target_.Write(piece.offset, data);
    if (!status.ok()) return status;
    (zero ? totals_.zero : totals_.data) += piece.length;
    window_done_ += piece.length;
    meter_.Add(static_cast<int64_t>(piece.length));
    return status;
  }

  Endpoint& source_;
  Endpoint& target_;
  const Options& options_;
  BufferPool& buffers_;
  Meter& meter_;
  Totals totals_;
  std::atomic<uint64_t> window_done_ = 0;
};

bool SameFile(const std::string& a, const std::string& b) {
  struct stat left {};
  struct stat right {};
  return !IsUri(a) && !IsUri(b) && stat(a.c_str(), &left) == 0 && stat(b.c_str(), &right) == 0 &&
         left.st_dev == right.st_dev && left.st_ino == right.st_ino;
}

void Report(const Options& options, uint64_t size, uint64_t begun_at, const Totals& totals,
            double seconds) {
  const double rate = static_cast<double>(size - begun_at) / std::max(seconds, 1e-9);
  if (options.json) {
    std::printf("%s\n",
                absl::StrFormat("{\"source\": %s, \"target\": %s, \"bytes\": %d, \"resumed_at\": "
                                "%d, \"data_bytes\": %d, \"zero_bytes\": %d, \"seconds\": %.6f, "
                                "\"bytes_per_second\": %.0f, \"verified\": %s}",
                                JsonText(options.source), JsonText(options.target), size, begun_at,
                                totals.data.load(), totals.zero.load(), seconds, rate,
                                options.verify ? "true" : "false")
                    .c_str());
  } else if (!options.quiet) {
    std::printf("%s copied in %.1f s, %s/s: %s of data, %s of zeroes%s\n", SizeText(size).c_str(),
                seconds, SizeText(static_cast<uint64_t>(rate)).c_str(),
                SizeText(totals.data).c_str(), SizeText(totals.zero).c_str(),
                options.verify ? ", verified" : "");
  }
}

int Differ(const Options& options, uint64_t offset) {
  std::fprintf(stderr, "sluice: %s and %s differ at byte %llu\n", options.source.c_str(),
               options.target.c_str(), static_cast<unsigned long long>(offset));
  return 1;
}

}  // namespace

int Copy(const Options& options) {
  if (SameFile(options.source, options.target)) {
    return Failed(options.target, Status(StatusCode::kInvalidArgument, "is the source itself"));
  }
  const auto client = Client::Create();
  if (!client.ok()) return Failed("start", client.status());
  const auto source = OpenSource(*client, options.source, options);
  if (!source.ok()) return Failed(options.source, source.status());
  const uint64_t size = (*source)->size_bytes();
  const Journal journal(options.journal,
                        {options.source, options.target, size, (*source)->generation()});
  const auto begun_at = journal.Load();
  if (!begun_at.ok()) return Failed("--resume", begun_at.status());
  const auto target = OpenTarget(*client, options.target, size, *begun_at > 0, options);
  if (!target.ok()) return Failed(options.target, target.status());

  double seconds = 0;
  Totals totals;
  {
    Meter meter("copy", size, *begun_at, options.quiet || options.json);
    Copying copying(**source, **target, options, client->buffers(), meter);
    for (uint64_t at = *begun_at; at < size;) {
      const uint64_t end = std::min(size, AlignDown(at, kWindowBytes) + kWindowBytes);
      if (Status s = copying.CopyWindow(at, end - at); !s.ok()) return Failed("copy", s);
      at = end;
      if (Status s = journal.Save(at); !s.ok()) return Failed("--resume", s);
    }
    seconds = meter.seconds();
    totals.data = copying.totals().data.load();
    totals.zero = copying.totals().zero.load();
  }
  if (options.verify) {
    const auto differ = Compare(**source, **target, size, options, client->buffers());
    if (!differ.ok()) return Failed("--verify", differ.status());
    if (differ->has_value()) return Differ(options, **differ);
  }
  journal.Remove();
  Report(options, size, *begun_at, totals, seconds);
  return 0;
}

int Verify(const Options& options) {
  const auto client = Client::Create();
  if (!client.ok()) return Failed("start", client.status());
  const auto left = OpenSource(*client, options.source, options);
  if (!left.ok()) return Failed(options.source, left.status());
  const auto right = OpenSource(*client, options.target, options);
  if (!right.ok()) return Failed(options.target, right.status());
  const uint64_t size = (*left)->size_bytes();
  std::optional<uint64_t> differ;
  std::string why;
  if (size != (*right)->size_bytes()) {
    why = absl::StrCat("sizes differ: ", size, " and ", (*right)->size_bytes(), " bytes");
  } else {
    const auto compared = Compare(**left, **right, size, options, client->buffers());
    if (!compared.ok()) return Failed("verify", compared.status());
    differ = *compared;
    if (differ) why = absl::StrCat("they differ at byte ", *differ);
  }
  if (options.json) {
    std::printf("%s\n", absl::StrFormat("{\"equal\": %s, \"bytes\": %d, \"first_difference\": %s}",
                                        why.empty() ? "true" : "false", size,
                                        differ ? absl::StrCat(*differ) : "null")
                            .c_str());
  } else if (why.empty()) {
    std::printf("equal: %s\n", SizeText(size).c_str());
  }
  if (!why.empty()) std::fprintf(stderr, "sluice: %s\n", why.c_str());
  return why.empty() ? 0 : 1;
}

}  // namespace sluice::command
