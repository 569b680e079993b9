// SPDX-License-Identifier: Apache-2.0
#include "client/cli.h"

#include <CLI/CLI.hpp>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/size.h"
#include "core/units.h"

namespace sluice {
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
                 "nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=PATH")
      ->option_text("URI")
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
  app.add_flag("--structured", options.structured, "ask for structured replies");
  app.add_option("--poll", words.poll_us, "ask again and again for US microseconds before sleeping")
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
      "  sluice bench nbd://127.0.0.1:10809/disk\n"
      "  sluice bench --rw write --destroy --flush --connections 4 nbd://127.0.0.1/disk");
}

absl::Status Wrong(absl::string_view flag, absl::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat(flag, ": ", text));
}

absl::Status TakeTime(absl::string_view flag, absl::string_view text, uint64_t& out_ns) {
  absl::Duration duration;
  if (!absl::ParseDuration(text, &duration) || duration < absl::ZeroDuration() ||
      duration > absl::Hours(24 * 365)) {
    return Wrong(flag, "write 500ms, 10s or 2m");
  }
  out_ns = static_cast<uint64_t>(absl::ToInt64Nanoseconds(duration));
  return absl::OkStatus();
}

absl::Status TakeSize(absl::string_view flag, std::string text, uint64_t& out_bytes) {
  for (char& c : text) {
    if (absl::StrContains("kmgt", absl::string_view(&c, 1))) c = static_cast<char>(c - 'a' + 'A');
  }
  const auto size = ParseSize(text);
  if (!size.ok()) return Wrong(flag, size.status().message());
  out_bytes = *size;
  return absl::OkStatus();
}

absl::Status Interpret(const CLI::App& app, Words words, Options& options) {
  auto uri = ParseNbdUri(options.uri_text);
  if (!uri.ok()) return Wrong("URI", uri.status().message());
  options.uri = *std::move(uri);
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

// A command other than bench, and the words of its line that are not yet numbers.
struct Verb {
  CLI::App* app = nullptr;
  int (*run)(const command::Options&) = nullptr;
};
struct Range {
  std::string offset = "0", length;
};

constexpr char kEndpoints[] =
    "Each end is a path (file or block device), nbd://HOST[:PORT]/EXPORT or\n"
    "nbd+unix:///EXPORT?socket=PATH.";

void DeclareUri(CLI::App& app, std::string& uri) {
  app.add_option("URI", uri, "nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=PATH")
      ->option_text("URI")
      ->required();
}

void DeclareRange(CLI::App& app, Range& range, const char* length_default) {
  app.add_option("--offset", range.offset, "where it begins")->option_text("SIZE [0]");
  app.add_option("--length", range.length, "how much of it")->option_text(length_default);
}

void DeclareJson(CLI::App& app, command::Options& options) {
  app.add_flag("--json", options.json, "print JSON instead of text");
}

void DeclareParallel(CLI::App& app, command::Options& options) {
  app.add_option("--connections", options.connections,
                 "for each volume, where its server takes several")
      ->option_text("N [4]");
  app.add_option("--jobs", options.jobs, "requests in flight")->option_text("N [16]");
  app.add_flag("--quiet", options.quiet, "no progress bar, no summary");
}

std::vector<Verb> DeclareShows(CLI::App& app, command::Options& options, Range& range) {
  CLI::App& stat = *app.add_subcommand("stat", "size, block sizes and abilities of an export");
  stat.alias("info");
  CLI::App& list = *app.add_subcommand("ls", "the exports of an NBD server");
  CLI::App& map = *app.add_subcommand("map", "which parts of an export are data, holes, zeroes");
  for (CLI::App* shown : {&stat, &list, &map}) {
    DeclareUri(*shown, options.source);
    DeclareJson(*shown, options);
  }
  list.footer("The export in the URI plays no part:  sluice ls nbd://127.0.0.1");
  DeclareRange(map, range, "SIZE [to the end]");
  return {{&stat, command::Stat}, {&list, command::List}, {&map, command::Map}};
}

std::vector<Verb> DeclareMoves(CLI::App& app, command::Options& options, Range& range) {
  CLI::App& read = *app.add_subcommand("read", "a range of an export to stdout or a file");
  DeclareUri(read, options.source);
  DeclareRange(read, range, "SIZE [to the end]");
  read.add_option("--output", options.file, "file to write, - is stdout")->option_text("FILE [-]");
  CLI::App& write = *app.add_subcommand("write", "stdin or a file into an export");
  DeclareUri(write, options.target);
  DeclareRange(write, range, "SIZE [all there is]");
  write.add_option("--input", options.file, "file to read, - is stdin")->option_text("FILE [-]");
  write.add_flag("--fua", options.fua, "each write is durable when it is answered");
  write.add_flag("--flush", options.flush, "all is durable when the command ends");
  write.footer("  printf hello | sluice write --offset 1M --flush nbd://127.0.0.1/disk");
  CLI::App& copy = *app.add_subcommand("copy", "a file or volume to another one, sparsely");
  copy.add_option("SRC", options.source, "what is copied")->option_text("SRC")->required();
  copy.add_option("DST", options.target, "what is overwritten")->option_text("DST")->required();
  DeclareParallel(copy, options);
  DeclareJson(copy, options);
  copy.add_option("--resume", options.journal,
                  "keep a journal in FILE, and go on where one there says the same\n"
                  "copy was interrupted; removed at the end")
      ->option_text("FILE");
  copy.add_flag("--verify", options.verify, "read both back and compare");
  copy.footer(std::string(kEndpoints) +
              " A file is made and truncated\nas needed; holes and zeroes take no space where "
              "the target can do that.\nAll is durable at the end.\n\n"
              "  sluice copy disk.img nbd://127.0.0.1/disk");
  CLI::App& verify = *app.add_subcommand("verify", "compare two files or volumes");
  verify.add_option("A", options.source, "the one")->option_text("A")->required();
  verify.add_option("B", options.target, "the other")->option_text("B")->required();
  DeclareParallel(verify, options);
  DeclareJson(verify, options);
  verify.footer(std::string(kEndpoints) + " Exit status 1: they differ.");
  return {{&read, command::Read},
          {&write, command::Write},
          {&copy, command::Copy},
          {&verify, command::Verify}};
}

absl::Status Interpret(const Range& range, command::Options& options) {
  if (absl::Status s = TakeSize("--offset", range.offset, options.offset); !s.ok()) return s;
  if (!range.length.empty()) {
    uint64_t length = 0;
    if (absl::Status s = TakeSize("--length", range.length, length); !s.ok()) return s;
    options.length = length;
  }
  if (options.connections < 1 || options.connections > 64) {
    return Wrong("--connections", "give 1 to 64");
  }
  if (options.jobs < 1 || options.jobs > 256) return Wrong("--jobs", "give 1 to 256");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ClientCommand> ParseClientCommandLine(int argc, const char* const* argv) {
  CLI::App app{"Sluice: the client's side of a network block device server", "sluice"};
  app.set_version_flag("--version", absl::StrCat("sluice ", SLUICE_VERSION));
  app.require_subcommand(1);
  CLI::App& bench = *app.add_subcommand("bench", "put load on an NBD export and measure it");
  ClientCommand command;
  Words words;
  DeclareLoad(bench, command.bench, words);
  DeclareClient(bench, command.bench, words);
  Range range;
  std::vector<Verb> verbs = DeclareShows(app, command.options, range);
  for (const Verb& verb : DeclareMoves(app, command.options, range)) verbs.push_back(verb);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out;
    std::ostringstream err;
    const bool asked = app.exit(error, out, err) == 0;
    if (!asked) return absl::InvalidArgumentError(absl::StrCat(error.what(), " (see --help)"));
    command.text = out.str();
    return command;
  }
  for (const Verb& verb : verbs) {
    if (!verb.app->parsed()) continue;
    if (absl::Status s = Interpret(range, command.options); !s.ok()) return s;
    command.kind = ClientCommand::Kind::kCommand;
    command.run = verb.run;
    return command;
  }
  if (absl::Status s = Interpret(bench, std::move(words), command.bench); !s.ok()) return s;
  command.kind = ClientCommand::Kind::kBench;
  return command;
}

}  // namespace sluice
