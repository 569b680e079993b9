// SPDX-License-Identifier: Apache-2.0
// `sluice top`: reads the counters again and again and shows what happened in between. A server
// that goes away is waited for.
#include <algorithm>
#include <cstdio>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/control/commands.h"
#include "client/control/rates.h"
#include "client/control/screen.h"
#include "client/control/table.h"
#include "client/control/top_text.h"
#include "client/control/words.h"
#include "sluice/v1/stats.grpc.pb.h"

namespace sluice::control {
namespace {

using Stub = v1::StatsService::Stub;
using std::chrono::milliseconds;

// Until the first table; the interval if that is shorter.
constexpr milliseconds kFirst{500};

Result<v1::Stats> Read(const Link& link, Stub& stub) {
  auto answer = Ask(link, stub, &Stub::GetStats, v1::GetStatsRequest(), milliseconds(5000));
  if (!answer.ok()) return answer.status();
  return std::move(*answer->mutable_stats());
}

// For pipes, files and terminals that cannot move the cursor: one text after another.
int TopLines(const Link& link, Stub& stub, const TopOptions& options, v1::Stats before) {
  for (uint64_t shown = 0; options.count == 0 || shown < options.count; ++shown) {
    std::this_thread::sleep_for(milliseconds(options.interval_ms));
    auto now = Read(link, stub);
    if (!now.ok()) return Fail(now.status());
    const Rates rates = RatesBetween(before, *now);
    if (options.json) {
      Print(TopJson(rates, *now));
    } else {
      if (shown > 0) Print("\n");
      Print(absl::StrCat(TimeText(now->unix_ns()), "\n", TopTable(rates, *now, WantsColour())));
    }
    if (std::fflush(stdout) != 0) return 1;
    before = *std::move(now);
  }
  return 0;
}

std::string HeadOf(const Link& link, const v1::Stats& now, const TopOptions& options) {
  const auto up_ns = static_cast<int64_t>(now.uptime_ns());
  return absl::StrFormat("sluice top  %s  %s  up %s  every %.3g s  (q quits)\n\n", link.address(),
                         TimeText(now.unix_ns()), AgeText(now.unix_ns() - up_ns, now.unix_ns()),
                         options.interval_ms / 1000.0);
}

int TopScreen(const Link& link, Stub& stub, const TopOptions& options, v1::Stats before) {
  Screen screen;
  const bool colour = WantsColour();
  std::string text = absl::StrCat(HeadOf(link, before, options), "...\n");
  milliseconds pause = std::min(kFirst, milliseconds(options.interval_ms));
  for (uint64_t shown = 0; options.count == 0 || shown <= options.count;) {
    screen.Show(text);
    const Screen::Event event = screen.Wait(pause);
    if (event == Screen::Event::kQuit) return 0;
    if (event == Screen::Event::kResize) continue;
    ++shown;
    pause = milliseconds(options.interval_ms);
    auto now = Read(link, stub);
    if (!now.ok()) {
      text = absl::StrCat(HeadOf(link, before, options), Harmless(now.status().message()), "\n");
      continue;
    }
    text = absl::StrCat(HeadOf(link, *now, options),
                        TopTable(RatesBetween(before, *now), *now, colour));
    before = *std::move(now);
  }
  return 0;
}

}  // namespace

int Top(const Link& link, const TopOptions& options) {
  const auto stub = v1::StatsService::NewStub(link.channel());
  auto first = Read(link, *stub);
  if (!first.ok()) return Fail(first.status());
  const bool screen = !options.json && options.count != 1 && Screen::Possible();
  return screen ? TopScreen(link, *stub, options, *std::move(first))
                : TopLines(link, *stub, options, *std::move(first));
}

}  // namespace sluice::control
