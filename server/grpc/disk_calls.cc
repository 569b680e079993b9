// SPDX-License-Identifier: Apache-2.0
// DiskService.
#include "server/config_messages.h"
#include "server/grpc/control_convert.h"
#include "server/grpc/control_services.h"
#include "storage/bufq.h"

namespace sluice::rpc {
namespace {

using Service = v1::DiskService::AsyncService;

template <typename Response>
absl::Status Told(const absl::StatusOr<DiskInfo>& disk, Response& to) {
  if (disk.ok()) Describe(*disk, *to.mutable_disk());
  return disk.status();
}

absl::Status Add(Host& host, const v1::AddDiskRequest& from, v1::AddDiskResponse& to) {
  DiskSpec spec;
  if (const auto problem = FromMessage("disk", from.disk(), spec)) {
    return absl::InvalidArgumentError(absl::StrCat(problem->key, ": ", problem->text));
  }
  return Told(host.control->management.control.AddDisk(AskOf(from), spec), to);
}

absl::Status Get(Host& host, const v1::GetDiskRequest& from, v1::GetDiskResponse& to) {
  return Told(host.control->management.control.GetDisk(from.name()), to);
}

absl::Status List(Host& host, const v1::ListDisksRequest& from, v1::ListDisksResponse& to) {
  return Page(
      from, host.control->management.control.ListDisks(),
      [](const DiskInfo& each) { return each.spec.name; },
      [&to](const DiskInfo& each) { Describe(each, *to.add_disks()); }, to);
}

absl::Status Swap(Host& host, const v1::SwapStrategyRequest& from, v1::SwapStrategyResponse& to) {
  const auto swapped = host.control->management.control.SwapStrategy(
      AskOf(from), from.name(), from.strategy(), from.cylinder_bytes());
  if (!swapped.ok()) return swapped.status();
  Describe(swapped->disk, *to.mutable_disk());
  to.set_moved(swapped->moved);
  return absl::OkStatus();
}

absl::Status ListStrategies(Host&, const v1::ListStrategiesRequest&,
                            v1::ListStrategiesResponse& to) {
  for (const BufqStrategy& each : BufqRegistry::Get().List()) {
    v1::Strategy& strategy = *to.add_strategies();
    strategy.set_name(each.name);
    strategy.set_summary(each.summary);
    strategy.set_is_module(BufqRegistry::Get().IsModule(each.name));
  }
  return absl::OkStatus();
}

absl::Status SetDepth(Host& host, const v1::SetDepthRequest& from, v1::SetDepthResponse& to) {
  return Told(host.control->management.control.SetDepth(AskOf(from), from.name(), from.depth()),
              to);
}

absl::Status Drain(Host& host, const v1::DrainDiskRequest& from, v1::DrainDiskResponse& to) {
  const auto begun = host.control->management.control.DrainDisk(AskOf(from), from.name());
  if (begun.ok()) Describe(*begun, *to.mutable_operation());
  return begun.status();
}

absl::Status Remove(Host& host, const v1::RemoveDiskRequest& from, v1::RemoveDiskResponse&) {
  return host.control->management.control.RemoveDisk(AskOf(from), from.name());
}

absl::Status Rescan(Host& host, const v1::RescanDiskRequest& from, v1::RescanDiskResponse& to) {
  const auto seen = host.control->management.control.RescanDisk(AskOf(from), from.name());
  if (!seen.ok()) return seen.status();
  Describe(seen->disk, *to.mutable_disk());
  to.set_old_size_bytes(seen->old_size_bytes);
  return absl::OkStatus();
}

}  // namespace

void AwaitDisks(Host& host, ::grpc::ServerCompletionQueue& cq) {
  Service& service = host.control->disk;
  AwaitControl<Add>(host, cq, service, &Service::RequestAddDisk);
  AwaitControl<Get>(host, cq, service, &Service::RequestGetDisk);
  AwaitControl<List>(host, cq, service, &Service::RequestListDisks);
  AwaitControl<Swap>(host, cq, service, &Service::RequestSwapStrategy);
  AwaitControl<ListStrategies>(host, cq, service, &Service::RequestListStrategies);
  AwaitControl<SetDepth>(host, cq, service, &Service::RequestSetDepth);
  AwaitControl<Drain>(host, cq, service, &Service::RequestDrainDisk);
  AwaitControl<Remove>(host, cq, service, &Service::RequestRemoveDisk);
  AwaitControl<Rescan>(host, cq, service, &Service::RequestRescanDisk);
}

}  // namespace sluice::rpc
