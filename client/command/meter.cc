// SPDX-License-Identifier: Apache-2.0
#include "client/command/meter.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/bench/time.h"
#include "client/command/text.h"

namespace sluice::command {
namespace {

constexpr auto kPause = std::chrono::milliseconds(200);
constexpr size_t kBarWidth = 24;

std::string TimeText(double seconds) {
  const auto whole = static_cast<uint64_t>(std::min(seconds, 359999.0));
  if (whole < 3600) return absl::StrFormat("%d:%02d", whole / 60, whole % 60);
  return absl::StrFormat("%d:%02d:%02d", whole / 3600, whole / 60 % 60, whole % 60);
}

}  // namespace

std::string MeterText(const std::string& what, uint64_t done, uint64_t total, double per_second) {
  const double share = total == 0 ? 1 : static_cast<double>(done) / static_cast<double>(total);
  const auto full = static_cast<size_t>(share * kBarWidth);
  std::string text = absl::StrFormat(
      "%s [%s%s] %3d %%  %s/s", what, std::string(full, '#'), std::string(kBarWidth - full, ' '),
      static_cast<int>(share * 100), SizeText(static_cast<uint64_t>(per_second)));
  if (per_second > 0) {
    absl::StrAppend(&text, "  ", TimeText(static_cast<double>(total - done) / per_second), " left");
  }
  return text;
}

Meter::Meter(const char* what, uint64_t total_bytes, uint64_t done_bytes, bool quiet)
    : what_(what),
      total_(total_bytes),
      before_(done_bytes),
      begin_ns_(bench::NowNs()),
      done_(static_cast<int64_t>(done_bytes)) {
  if (!quiet && isatty(STDERR_FILENO) != 0) drawing_ = std::thread([this] { Draw(); });
}

Meter::~Meter() {
  {
    const std::lock_guard lock(mutex_);
    end_ = true;
  }
  wake_.notify_all();
  if (drawing_.joinable()) drawing_.join();
}

double Meter::seconds() const { return static_cast<double>(bench::NowNs() - begin_ns_) / 1e9; }

void Meter::Draw() {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, kPause, [this] { return end_; })) {
    const auto done =
        std::clamp<uint64_t>(static_cast<uint64_t>(std::max<int64_t>(done_, 0)), 0, total_);
    const double rate = static_cast<double>(done - std::min(done, before_)) / seconds();
    std::fprintf(stderr, "\r%s\033[K", MeterText(what_, done, total_, rate).c_str());
  }
  std::fputs("\r\033[K", stderr);
}

}  // namespace sluice::command
