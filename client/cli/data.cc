// SPDX-License-Identifier: Apache-2.0
// The commands on exports and their data: `sluice ls stat map read write copy verify`.
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/tree.h"
#include "client/command/endpoint.h"
#include "client/uri.h"

namespace sluice::cli {
namespace {

constexpr char kGroup[] = "Exports and their data";
constexpr char kUri[] =
    "an export of the server (--server), or anywhere a URI:\n"
    "nbd://HOST[:PORT]/EXPORT, nbd+unix:///EXPORT?socket=PATH,\n"
    "sluice://HOST[:PORT]/EXPORT, sluice+unix:///EXPORT?socket=PATH";
constexpr char kEndpoints[] =
    "Each end is a path (file or block device) or a URI: nbd://HOST[:PORT]/EXPORT,\n"
    "nbd+unix:///EXPORT?socket=PATH, or over gRPC sluice://HOST[:PORT]/EXPORT,\n"
    "sluice+unix:///EXPORT?socket=PATH.";

using Run = int (*)(const command::Options&);

struct Range {
  std::string offset = "0", length;
};

CLI::App& AddData(Tree& tree, const char* name, const char* help) {
  CLI::App& app = tree.Add(tree.root(), name, help);
  app.group(kGroup);
  return app;
}

// A name without a scheme is an export of the server that --server names.
void AddUri(Tree& tree, CLI::App& app, std::string& uri) {
  tree.SetHint(app.add_option("EXPORT", uri, kUri)->required(), {.named = control::Named::kExport});
}

absl::Status CompleteUri(const control::ServerOptions& server, std::string& uri) {
  if (uri.empty() || command::IsUri(uri)) return absl::OkStatus();
  if (absl::StartsWith(uri, "/")) {
    return Wrong("EXPORT", absl::StrCat("\"", uri, "\" is a path: give an export or a URI"));
  }
  uri = control::UriOf(server.address, uri);
  return absl::OkStatus();
}

// Whom what is written may displace.
void AddHold(CLI::App& app, command::Options& options) {
  CLI::Option* const force = app.add_flag(
      "--force", options.force, "over gRPC: take it over from whoever holds it; they are fenced");
  app.add_flag("--shared", options.shared, "over gRPC: write beside other writers")
      ->excludes(force);
}

void AddRange(CLI::App& app, Range& range, const char* length_default) {
  app.add_option("--offset", range.offset, "where it begins")->option_text("SIZE [0]");
  app.add_option("--length", range.length, "how much of it")->option_text(length_default);
}

void AddJsonTo(CLI::App& app, command::Options& options) {
  app.add_flag("--json", options.json, "print JSON instead of text");
}

void AddParallel(CLI::App& app, command::Options& options) {
  app.add_option("--connections", options.connections,
                 "for each volume, where its server takes several")
      ->option_text("N [4]");
  app.add_option("--jobs", options.jobs, "requests in flight")->option_text("N [16]");
  app.add_flag("--quiet", options.quiet, "no progress bar, no summary");
}

absl::Status Interpret(const control::ServerOptions& server, const Range& range,
                       command::Options& options) {
  options.server = server;
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

void Finish(Tree& tree, CLI::App& app, const std::shared_ptr<Range>& range, Run run) {
  tree.Finish(app, [&tree, range, run] {
    ClientCommand& command = tree.command();
    command.kind = ClientCommand::Kind::kCommand;
    command.run = run;
    return Interpret(command.server, *range, command.options);
  });
}

// Of a command on one export.
void FinishUri(Tree& tree, CLI::App& app, const std::shared_ptr<Range>& range, std::string& uri,
               Run run) {
  tree.Finish(app, [&tree, &uri, range, run] {
    ClientCommand& command = tree.command();
    command.kind = ClientCommand::Kind::kCommand;
    command.run = run;
    if (absl::Status s = CompleteUri(command.server, uri); !s.ok()) return s;
    return Interpret(command.server, *range, command.options);
  });
}

void DeclareList(Tree& tree) {
  command::Options& options = tree.command().options;
  CLI::App& list = AddData(tree, "ls", "the exports of a server");
  list.add_option("URI", options.source,
                  "of a server, its export plays no part; without it: the exports of the server\n"
                  "that --server names");
  AddJsonTo(list, options);
  list.footer("Examples:\n  sluice ls\n  sluice ls nbd://127.0.0.1");
  tree.Finish(list, [&tree, &options] {
    ClientCommand& command = tree.command();
    command.kind = ClientCommand::Kind::kCommand;
    command.run = command::List;
    if (options.source.empty() || IsSluiceUri(options.source)) {
      const auto uri = ParseSluiceUri(options.source);
      if (!options.source.empty() && !uri.ok()) return uri.status();
      if (uri.ok()) command.server.address = control::AddressOf(*uri);
      command.kind = ClientCommand::Kind::kControl;
      command.control = [json = options.json](const control::Link& link) {
        return control::ListExports(link, json);
      };
    }
    return absl::OkStatus();
  });
}

void DeclareShows(Tree& tree, const std::shared_ptr<Range>& range) {
  command::Options& options = tree.command().options;
  CLI::App& stat = AddData(tree, "stat", "size, block sizes and abilities of an export");
  stat.alias("info");
  CLI::App& map = AddData(tree, "map", "which parts of an export are data, holes, zeroes");
  for (CLI::App* shown : {&stat, &map}) {
    AddUri(tree, *shown, options.source);
    AddJsonTo(*shown, options);
  }
  AddRange(map, *range, "SIZE [to the end]");
  FinishUri(tree, stat, range, options.source, command::Stat);
  FinishUri(tree, map, range, options.source, command::Map);
}

void DeclareReadAndWrite(Tree& tree, const std::shared_ptr<Range>& range) {
  command::Options& options = tree.command().options;
  CLI::App& read = AddData(tree, "read", "a range of an export to stdout or a file");
  AddUri(tree, read, options.source);
  AddRange(read, *range, "SIZE [to the end]");
  tree.SetHint(read.add_option("--output", options.file, "file to write, - is stdout")
                   ->option_text("FILE [-]"),
               {.files = true});
  FinishUri(tree, read, range, options.source, command::Read);
  CLI::App& write = AddData(tree, "write", "stdin or a file into an export");
  AddUri(tree, write, options.target);
  AddRange(write, *range, "SIZE [all there is]");
  tree.SetHint(write.add_option("--input", options.file, "file to read, - is stdin")
                   ->option_text("FILE [-]"),
               {.files = true});
  write.add_flag("--fua", options.fua, "each write is durable when it is answered");
  write.add_flag("--flush", options.flush, "all is durable when the command ends");
  AddHold(write, options);
  write.footer("Examples:\n  printf hello | sluice write --offset 1M --flush nbd://127.0.0.1/disk");
  FinishUri(tree, write, range, options.target, command::Write);
}

void DeclareCopyAndVerify(Tree& tree, const std::shared_ptr<Range>& range) {
  command::Options& options = tree.command().options;
  CLI::App& copy = AddData(tree, "copy", "a file or volume to another one, sparsely");
  copy.alias("cp");
  const auto end = [&tree](CLI::App& app, const char* name, std::string& into, const char* help) {
    tree.SetHint(app.add_option(name, into, help)->required(), {.files = true});
  };
  end(copy, "SRC", options.source, "what is copied");
  end(copy, "DST", options.target, "what is overwritten");
  AddParallel(copy, options);
  AddJsonTo(copy, options);
  tree.SetHint(copy.add_option("--resume", options.journal,
                               "keep a journal in FILE, and go on where one there says the same\n"
                               "copy was interrupted; removed at the end")
                   ->option_text("FILE"),
               {.files = true});
  copy.add_flag("--verify", options.verify, "read both back and compare");
  AddHold(copy, options);
  copy.footer(std::string(kEndpoints) +
              " A file is made and truncated\nas needed; holes and zeroes take no space where "
              "the target can do that.\nAll is durable at the end.\n\n"
              "Examples:\n  sluice copy disk.img nbd://127.0.0.1/disk");
  Finish(tree, copy, range, command::Copy);
  CLI::App& verify = AddData(tree, "verify", "compare two files or volumes");
  end(verify, "A", options.source, "the one");
  end(verify, "B", options.target, "the other");
  AddParallel(verify, options);
  AddJsonTo(verify, options);
  verify.footer(std::string(kEndpoints) +
                " Exit status 1: they differ. Of two volumes over gRPC the servers\nmake checksums "
                "(crc32c), and only what these tell apart is read.");
  Finish(tree, verify, range, command::Verify);
}

}  // namespace

void DeclareData(Tree& tree) {
  auto range = std::make_shared<Range>();
  DeclareList(tree);
  DeclareShows(tree, range);
  DeclareReadAndWrite(tree, range);
  DeclareCopyAndVerify(tree, range);
}

}  // namespace sluice::cli
