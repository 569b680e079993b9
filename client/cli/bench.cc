// SPDX-License-Identifier: Apache-2.0
// `sluice bench`
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/tree.h"
#include "core/units.h"

namespace sluice::cli {
namespace {

using bench::Options;

// Options whose text is not yet a number.
struct Words {
  std::string rw = "randread", block_size = "4k", offset = "0", size;
  std::string time = "10s", warmup = "1s", timeout = "30s";
  uint64_t poll_us = 0;
};

void DeclareLoad(CLI::App& app, Options& options, Words& words) {
  app.add_option("URI", options.uri_text,
                 "nbd://HOST[:PORT]/EXPORT, nbd+unix:///EXPORT?socket=PATH, or over gRPC\n"
                 "sluice://HOST[:PORT]/EXPORT, sluice+unix:///EXPORT?socket=PATH")
      ->required();
  app.add_option("--rw", words.rw,
                 "randread, read, randwrite, write, randrw, rw, randtrim, trim,\n"
                 "randzero or zero; without rand each connection goes over a part\n"
                 "of its own in order")
      ->option_text("MODE [randread]");
  app.add_flag("--destroy", options.destroy,
               "yes, overwrite what the export holds (all modes but read need it)");
  app.add_option("--read-percent", options.read_percent,
                 "reads among the requests of rw and randrw")
      ->option_text("N [70]");
  app.add_option("--block-size", words.block_size, "bytes of a request")->option_text("SIZE [4K]");
  app.add_option("--depth", options.depth, "requests in flight, for each connection")
      ->option_text("N [32]");
  app.add_option("--connections", options.connections, "connections")->option_text("N [1]");
  app.add_option("--time", words.time, "how long to measure: 500ms, 10s, 2m; 0: no limit")
      ->option_text("TIME [10s; 0 with --requests]");
  app.add_option("--requests", options.requests, "stop after N requests, all connections together")
      ->option_text("N");
  app.add_option("--warmup", words.warmup, "load before it that is not counted")
      ->option_text("TIME [1s; 0 with --requests]");
  app.add_option("--offset", words.offset, "where the region begins")->option_text("SIZE [0]");
  app.add_option("--size", words.size, "the region's size")->option_text("SIZE [to the end]");
  app.add_flag("--fua", options.fua, "writes, trims and zeroes must be durable when answered");
  app.add_flag("--flush", options.flush,
               "a FLUSH at the end, within the time: tells durable IOPS as well");
  app.add_flag("--verify", options.verify,
               "data is a function of offset and seed; runs that write read it\n"
               "back afterwards, runs that read compare with what those wrote");
  app.add_option("--seed", options.seed, "of data and random offsets")->option_text("N [1]");
}

void DeclareClient(CLI::App& app, Options& options, Words& words) {
  app.add_flag("--structured", options.structured, "NBD: ask for structured replies");
  app.add_option("--poll", words.poll_us,
                 "NBD: ask again and again for US microseconds before sleeping")
      ->option_text("US [0]");
  app.add_option("--threads", options.threads, "threads that share the connections")
      ->option_text("N [1]");
  app.add_option("--timeout", words.timeout, "give up when nothing is answered for so long")
      ->option_text("TIME [30s]");
  app.add_flag("--json", options.json, "print one line of JSON instead of the table");
  app.add_flag("--histogram", options.histogram, "print a histogram of latencies below the table");
  app.footer(
      "Offsets of the rand modes are independent: a block may come twice. Sizes take K, M, G.\n"
      "Exit status: 0 all answered as it should be; 1 errors, wrong data or a lost connection;\n"
      "2 wrong use; 130 interrupted (the summary so far is printed).\n\n"
      "Examples:\n"
      "  sluice bench nbd://127.0.0.1:10809/disk\n"
      "  sluice bench --rw write --destroy --flush --connections 4 nbd://127.0.0.1/disk");
}

absl::Status Interpret(const CLI::App& app, Words words, Options& options) {
  if (IsSluiceUri(options.uri_text)) {
    const auto uri = ParseSluiceUri(options.uri_text);
    if (!uri.ok()) return Wrong("URI", uri.status().message());
  } else {
    auto uri = ParseNbdUri(options.uri_text);
    if (!uri.ok()) return Wrong("URI", uri.status().message());
    options.uri = *std::move(uri);
  }
  const bench::Mode* mode = bench::FindMode(words.rw);
  if (mode == nullptr) {
    return Wrong("--rw", absl::StrCat("\"", words.rw, "\" is no mode: see --help for the list"));
  }
  options.mode = *mode;
  if (app.count("--read-percent") > 0 && mode->reads != bench::kMixed) {
    return Wrong("--read-percent", "goes with --rw rw and randrw only");
  }
  if (app.count("--requests") > 0 && app.count("--time") == 0) words.time = "0";
  if (app.count("--requests") > 0 && app.count("--warmup") == 0) words.warmup = "0";
  uint64_t block_size = 0;
  for (const absl::Status& status :
       {TakeTime("--time", words.time, options.time_ns),
        TakeTime("--warmup", words.warmup, options.warmup_ns),
        TakeTime("--timeout", words.timeout, options.patience_ns),
        TakeSize("--block-size", words.block_size, block_size),
        TakeSize("--offset", words.offset, options.offset),
        words.size.empty() ? absl::OkStatus() : TakeSize("--size", words.size, options.size)}) {
    if (!status.ok()) return status;
  }
  if (block_size > UINT32_MAX) return Wrong("--block-size", "give a multiple of 512 up to 64M");
  options.block_size = static_cast<uint32_t>(block_size);
  if (words.poll_us > 1'000'000) return Wrong("--poll", "give at most a second, 1000000");
  options.poll_ns = words.poll_us * kMicrosecond;
  return Check(options);
}

}  // namespace

void DeclareBench(Tree& tree) {
  CLI::App& bench = tree.Add(tree.root(), "bench", "put load on an export and measure it");
  bench.group("Load and measurement");
  auto words = std::make_shared<Words>();
  DeclareLoad(bench, tree.command().bench, *words);
  DeclareClient(bench, tree.command().bench, *words);
  Hint modes;
  for (const bench::Mode& mode : bench::kModes) modes.choices.emplace_back(mode.name);
  tree.SetHint(bench.get_option("--rw"), modes);
  tree.Finish(bench, [&tree, &bench, words] {
    tree.command().kind = ClientCommand::Kind::kBench;
    tree.command().bench.server = tree.command().server;
    return Interpret(bench, *words, tree.command().bench);
  });
}

}  // namespace sluice::cli
