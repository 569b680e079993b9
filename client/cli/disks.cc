// SPDX-License-Identifier: Apache-2.0
// `sluice disk ...`
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "client/cli/tree.h"

namespace sluice::cli {
namespace {

using control::Link;
using control::Named;

// PATH | memory:SIZE | null:SIZE, as `sluiced serve` takes it.
void TakeTarget(const std::string& text, v1::Disk& disk) {
  absl::string_view rest = text;
  const bool memory = absl::ConsumePrefix(&rest, "memory:");
  const bool null = !memory && absl::ConsumePrefix(&rest, "null:");
  if (!memory && !null) {
    if (!absl::StartsWith(text, "/")) {
      throw CLI::ValidationError(
          absl::StrCat("TARGET: \"", text,
                       "\": write memory:SIZE, null:SIZE, or a path from / on, as the "
                       "server sees it"));
    }
    return disk.set_path(text);
  }
  uint64_t bytes = 0;
  const absl::Status status = TakeSize("TARGET", std::string(rest), bytes);
  if (!status.ok()) throw CLI::ValidationError(std::string(status.message()));
  memory ? disk.set_memory_bytes(bytes) : disk.set_null_bytes(bytes);
}

void DeclareAdd(Tree& tree, CLI::App& disk) {
  CLI::App& add = tree.Add(disk, "add", "open a drive while the server runs");
  auto request = std::make_shared<v1::AddDiskRequest>();
  v1::Disk& spec = *request->mutable_disk();
  AddPlace(add, "NAME", "what volumes and exports will call it",
           [&spec](const std::string& name) { spec.set_name(name); });
  CLI::Option* const target =
      AddPlace(add, "TARGET",
               "path of a file or device under the config's disk_roots, memory:SIZE\n"
               "or null:SIZE",
               [&spec](const std::string& text) { TakeTarget(text, spec); });
  tree.SetHint(target, {.choices = {"memory:", "null:"}, .files = true});
  AddSize(add, "--create", "SIZE", "make a missing file, sparse, of this size",
          [&spec](uint64_t bytes) { spec.set_create_bytes(bytes); });
  CLI::Option* const bufq = AddText(add, "--bufq", "STRATEGY [the device's]",
                                    "queueing strategy (sluice disk strategies)",
                                    [&spec](const std::string& name) { spec.set_bufq(name); });
  tree.SetHint(bufq, {.named = Named::kStrategy});
  AddNumber(add, "--depth", "N [the device's]", "requests given to the device at a time", 1, 1024,
            [&spec](uint64_t depth) { spec.set_depth(static_cast<uint32_t>(depth)); });
  AddSize(add, "--block-size", "SIZE [the device's]", "logical block told to clients",
          [&spec](uint64_t bytes) { spec.set_block_size_bytes(static_cast<uint32_t>(bytes)); });
  AddSize(add, "--cylinder", "SIZE", "sort by cylinders of this size, for strategies that sort",
          [&spec](uint64_t bytes) { spec.set_cylinder_bytes(bytes); });
  AddNumber(add, "--io-timeout", "S [the server's]", "seconds of silence after which it has failed",
            1, 86400,
            [&spec](uint64_t seconds) { spec.set_io_timeout_s(static_cast<uint32_t>(seconds)); });
  add.add_flag_callback(
      "--buffered", [&spec] { spec.set_buffered(true); },
      "through the page cache instead of O_DIRECT");
  add.add_flag_callback(
      "--read-only", [&spec] { spec.set_read_only(true); }, "refuse everything that writes");
  add.add_flag_callback(
      "--no-gather", [&spec] { spec.set_gather(false); }, "do not aggregate contiguous requests");
  AddChange(add, request);
  const auto json = AddJson(add);
  add.footer(
      "Examples:\n  sluice disk add d4 /srv/d4.img --create 10G --bufq deadline\n"
      "  sluice disk add scratch memory:1G");
  tree.Control(add,
               [request, json](const Link& l) { return control::AddDisk(l, *request, *json); });
}

// A call about one disk that is named first.
template <typename Request>
std::shared_ptr<Request> About(Tree& tree, CLI::App& app) {
  auto request = std::make_shared<Request>();
  tree.SetHint(AddPlace(app, "NAME", "the disk",
                        [request](const std::string& name) { request->set_name(name); }),
               {.named = Named::kDisk});
  return request;
}

void DeclareTuning(Tree& tree, CLI::App& disk) {
  CLI::App& swap = tree.Add(disk, "swap", "another queueing strategy, while requests run");
  auto swapped = About<v1::SwapStrategyRequest>(tree, swap);
  tree.SetHint(AddPlace(swap, "STRATEGY", "one of sluice disk strategies",
                        [swapped](const std::string& name) { swapped->set_strategy(name); }),
               {.named = Named::kStrategy});
  AddSize(swap, "--cylinder", "SIZE [by raw block]", "sort by cylinders of this size",
          [swapped](uint64_t bytes) { swapped->set_cylinder_bytes(bytes); });
  AddChange(swap, swapped);
  const auto swap_json = AddJson(swap);
  swap.footer(
      "What waits moves over; nothing fails.\n\n"
      "Examples:\n  sluice disk swap d0 deadline");
  tree.Control(swap, [swapped, swap_json](const Link& l) {
    return control::SwapStrategy(l, *swapped, *swap_json);
  });

  CLI::App& depth = tree.Add(disk, "depth", "how many requests the device gets at a time");
  auto deep = About<v1::SetDepthRequest>(tree, depth);
  AddNumber(depth, "N", "", "1 to 1024; 0: the device's own", 0, 1024, [deep](uint64_t n) {
    deep->set_depth(static_cast<uint32_t>(n));
  })->required();
  AddChange(depth, deep);
  const auto depth_json = AddJson(depth);
  tree.Control(depth, [deep, depth_json](const Link& l) {
    return control::SetDepth(l, *deep, *depth_json);
  });
}

void DeclareEnd(Tree& tree, CLI::App& disk) {
  CLI::App& drain = tree.Add(disk, "drain", "flush it, and let nothing new reach it");
  auto drained = About<v1::DrainDiskRequest>(tree, drain);
  auto wait = std::make_shared<bool>(true);
  drain.add_flag_callback(
      "--no-wait", [wait] { *wait = false; }, "begin it and say how to wait for it");
  AddChange(drain, drained);
  const auto drain_json = AddJson(drain);
  drain.footer("Requests that come meanwhile wait or fail; cancel the operation to open it again.");
  tree.Control(drain, [drained, wait, drain_json](const Link& l) {
    return control::DrainDisk(l, *drained, *wait, *drain_json);
  });

  CLI::App& remove = tree.Add(disk, "remove", "close a disk that nothing stands on");
  remove.alias("rm");
  auto removed = About<v1::RemoveDiskRequest>(tree, remove);
  AddChange(remove, removed);
  remove.footer(
      "What it holds stays on it; drain it first if something may not be flushed yet. Only\n"
      "disks that were added at run time.");
  tree.Control(remove, [removed](const Link& l) { return control::RemoveDisk(l, *removed); });

  CLI::App& rescan = tree.Add(disk, "rescan", "see whether the device has grown");
  auto seen = About<v1::RescanDiskRequest>(tree, rescan);
  AddChange(rescan, seen);
  const auto rescan_json = AddJson(rescan);
  tree.Control(rescan, [seen, rescan_json](const Link& l) {
    return control::RescanDisk(l, *seen, *rescan_json);
  });
}

}  // namespace

void DeclareDisks(Tree& tree) {
  CLI::App& disk = tree.Add(tree.root(), "disk", "the server's drives");
  disk.group("The server's parts")->require_subcommand(1);
  CLI::App& list = tree.Add(disk, "list", "all of them");
  list.alias("ls");
  const auto list_json = AddJson(list);
  tree.Control(list, [list_json](const Link& l) { return control::ListDisks(l, *list_json); });

  CLI::App& show = tree.Add(disk, "show", "one of them, with all that is known");
  auto shown = About<v1::GetDiskRequest>(tree, show);
  const auto show_json = AddJson(show);
  tree.Control(show, [shown, show_json](const Link& l) {
    return control::ShowDisk(l, shown->name(), *show_json);
  });

  CLI::App& strategies = tree.Add(disk, "strategies", "the queueing strategies there are");
  const auto strategies_json = AddJson(strategies);
  tree.Control(strategies, [strategies_json](const Link& l) {
    return control::ListStrategies(l, *strategies_json);
  });
  DeclareAdd(tree, disk);
  DeclareTuning(tree, disk);
  DeclareEnd(tree, disk);
}

}  // namespace sluice::cli
