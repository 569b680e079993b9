// SPDX-License-Identifier: Apache-2.0
// `sluice disk ...`
#include "absl/strings/str_cat.h"
#include "client/command/text.h"
#include "client/control/commands.h"
#include "client/control/json.h"
#include "client/control/pages.h"
#include "client/control/table.h"
#include "client/control/words.h"
#include "sluice/v1/disk.grpc.pb.h"

namespace sluice::control {
namespace {

using command::SizeText;
using Stub = v1::DiskService::Stub;

std::unique_ptr<Stub> StubOf(const Link& link) { return v1::DiskService::NewStub(link.channel()); }

Cell StateOf(const v1::DiskStatus& disk) {
  const std::string text = EnumText(*v1::DiskState_descriptor(), disk.state());
  switch (disk.state()) {
    case v1::DISK_STATE_ONLINE:
      return {text, Tone::kGood};
    case v1::DISK_STATE_DRAINING:
    case v1::DISK_STATE_DRAINED:
      return {text, Tone::kWarn};
    default:
      return {text, Tone::kBad};
  }
}

std::string BackingOf(const v1::Disk& spec) {
  switch (spec.backing_case()) {
    case v1::Disk::kPath:
      return spec.path();
    case v1::Disk::kMemoryBytes:
      return "memory";
    case v1::Disk::kNullBytes:
      return "null";
    default:
      return "-";
  }
}

std::string StrategyOf(const v1::DiskStatus& disk) {
  return disk.strategy().empty() ? "-" : disk.strategy();
}

std::string HomeOf(int32_t reactor) {
  return reactor < 0 ? std::string("all") : absl::StrCat(reactor);
}

std::string AbilitiesOf(const v1::DiskStatus& disk) {
  std::string text = disk.read_only() ? "read-only" : "read-write";
  if (disk.rotational()) text += ", rotational";
  if (disk.can_trim()) text += ", trim";
  if (disk.can_fast_zero()) text += ", fast zero";
  return text;
}

void PrintDisk(const v1::DiskStatus& disk, bool json) {
  if (json) return Print(JsonOf(disk) + "\n");
  Facts facts;
  facts.Add("name", disk.spec().name());
  facts.Add("state", StateOf(disk));
  if (!disk.reason().empty()) facts.Add("because", {disk.reason(), Tone::kBad});
  if (disk.state_since_unix_ns() != 0) facts.Add("since", TimeText(disk.state_since_unix_ns()));
  facts.Add("backing", BackingOf(disk.spec()));
  facts.Add("size", absl::StrCat(SizeText(disk.size_bytes()), " (", disk.size_bytes(), ")"));
  facts.Add("block", absl::StrCat(SizeText(disk.logical_block_size_bytes()), ", the device's own ",
                                  SizeText(disk.block_size_bytes())));
  facts.Add("strategy", StrategyOf(disk));
  facts.Add("depth", absl::StrCat(disk.depth()));
  facts.Add("can", AbilitiesOf(disk));
  facts.Add("reactor", HomeOf(disk.home_reactor()));
  facts.Add("used by", JoinText(disk.used_by()));
  facts.Add("made", disk.added_at_run_time() ? "at run time" : "by the config file");
  facts.Add("etag", disk.etag());
  Print(facts.Text(WantsColour()));
}

}  // namespace

int ListDisks(const Link& link, bool json) {
  const auto disks =
      AskAll(link, *StubOf(link), &Stub::ListDisks, &v1::ListDisksResponse::mutable_disks);
  if (!disks.ok()) return Fail(disks.status());
  if (json) return Print(JsonList(*disks)), 0;
  Table table({"NAME", "STATE", ">SIZE", "STRATEGY", ">DEPTH", "BACKING", "USED BY"});
  for (const v1::DiskStatus& disk : *disks) {
    table.Add({disk.spec().name(), StateOf(disk), SizeText(disk.size_bytes()), StrategyOf(disk),
               absl::StrCat(disk.depth()), BackingOf(disk.spec()), JoinText(disk.used_by())});
  }
  Print(table.Text(WantsColour()));
  return 0;
}

int ShowDisk(const Link& link, const std::string& name, bool json) {
  v1::GetDiskRequest request;
  request.set_name(name);
  const auto answer = Ask(link, *StubOf(link), &Stub::GetDisk, request);
  if (!answer.ok()) return Fail(answer.status());
  PrintDisk(answer->disk(), json);
  return 0;
}

int AddDisk(const Link& link, v1::AddDiskRequest request, bool json) {
  if (request.request_id().empty()) request.set_request_id(NewRequestId());
  const auto answer = Ask(link, *StubOf(link), &Stub::AddDisk, request);
  if (!answer.ok()) return Fail(answer.status());
  if (json) return PrintDisk(answer->disk(), true), 0;
  Print(absl::StrCat("disk ", answer->disk().spec().name(), " added, ",
                     SizeText(answer->disk().size_bytes()), "\n"));
  return 0;
}

int ListStrategies(const Link& link, bool json) {
  const auto answer = Ask(link, *StubOf(link), &Stub::ListStrategies, v1::ListStrategiesRequest());
  if (!answer.ok()) return Fail(answer.status());
  if (json) return Print(JsonList(answer->strategies())), 0;
  Table table({"NAME", "FROM", "WHAT IT DOES"});
  for (const v1::Strategy& strategy : answer->strategies()) {
    table.Add({strategy.name(), strategy.is_module() ? "module" : "built in", strategy.summary()});
  }
  Print(table.Text(WantsColour()));
  return 0;
}

int SwapStrategy(const Link& link, v1::SwapStrategyRequest request, bool json) {
  if (request.request_id().empty()) request.set_request_id(NewRequestId());
  const auto answer = Ask(link, *StubOf(link), &Stub::SwapStrategy, request);
  if (!answer.ok()) return Fail(answer.status());
  if (json) return Print(JsonOf(*answer) + "\n"), 0;
  Print(absl::StrCat("disk ", request.name(), " is ordered by ", answer->disk().strategy(),
                     " now; ", answer->moved(), " waiting requests moved over\n"));
  return 0;
}

int SetDepth(const Link& link, v1::SetDepthRequest request, bool json) {
  if (request.request_id().empty()) request.set_request_id(NewRequestId());
  const auto answer = Ask(link, *StubOf(link), &Stub::SetDepth, request);
  if (!answer.ok()) return Fail(answer.status());
  if (json) return PrintDisk(answer->disk(), true), 0;
  Print(absl::StrCat("disk ", request.name(), " takes ", answer->disk().depth(),
                     " requests at a time now\n"));
  return 0;
}

int RemoveDisk(const Link& link, v1::RemoveDiskRequest request) {
  if (request.request_id().empty()) request.set_request_id(NewRequestId());
  const auto answer = Ask(link, *StubOf(link), &Stub::RemoveDisk, request);
  if (!answer.ok()) return Fail(answer.status());
  Print(absl::StrCat("disk ", request.name(), " removed; what it holds stays on it\n"));
  return 0;
}

int RescanDisk(const Link& link, v1::RescanDiskRequest request, bool json) {
  if (request.request_id().empty()) request.set_request_id(NewRequestId());
  const auto answer = Ask(link, *StubOf(link), &Stub::RescanDisk, request);
  if (!answer.ok()) return Fail(answer.status());
  if (json) return Print(JsonOf(*answer) + "\n"), 0;
  const uint64_t size = answer->disk().size_bytes();
  const std::string before = answer->old_size_bytes() == size
                                 ? " as before"
                                 : absl::StrCat(", before ", SizeText(answer->old_size_bytes()));
  Print(absl::StrCat("disk ", request.name(), " has ", SizeText(size), before, "\n"));
  return 0;
}

int DrainDisk(const Link& link, v1::DrainDiskRequest request, bool wait, bool json) {
  if (request.request_id().empty()) request.set_request_id(NewRequestId());
  const auto answer = Ask(link, *StubOf(link), &Stub::DrainDisk, request);
  if (!answer.ok()) return Fail(answer.status());
  if (wait) return WaitOperation(link, answer->operation().id(), 0, json);
  if (json) return Print(JsonOf(answer->operation()) + "\n"), 0;
  Print(absl::StrCat(answer->operation().title(), " has begun: sluice operation wait ",
                     answer->operation().id(), "\n"));
  return 0;
}

}  // namespace sluice::control
