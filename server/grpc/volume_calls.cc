// SPDX-License-Identifier: Apache-2.0
// VolumeService.
#include "server/config_messages.h"
#include "server/grpc/control_convert.h"
#include "server/grpc/control_services.h"

namespace sluice::rpc {
namespace {

using Service = v1::VolumeService::AsyncService;

template <typename Response>
absl::Status Told(const absl::StatusOr<VolumeInfo>& volume, Response& to) {
  if (volume.ok()) Describe(*volume, *to.mutable_volume());
  return volume.status();
}

absl::Status Create(Host& host, const v1::CreateVolumeRequest& from, v1::CreateVolumeResponse& to) {
  VolumeSpec spec;
  if (const auto problem = FromMessage("volume", from.volume(), spec)) {
    return absl::InvalidArgumentError(absl::StrCat(problem->key, ": ", problem->text));
  }
  return Told(host.control->management.control.CreateVolume(AskOf(from), spec), to);
}

absl::Status Get(Host& host, const v1::GetVolumeRequest& from, v1::GetVolumeResponse& to) {
  return Told(host.control->management.control.GetVolume(from.name()), to);
}

absl::Status List(Host& host, const v1::ListVolumesRequest& from, v1::ListVolumesResponse& to) {
  return Page(
      from, host.control->management.control.ListVolumes(),
      [](const VolumeInfo& each) { return each.spec.name; },
      [&to](const VolumeInfo& each) { Describe(each, *to.add_volumes()); }, to);
}

absl::Status Grow(Host& host, const v1::GrowVolumeRequest& from, v1::GrowVolumeResponse& to) {
  return Told(host.control->management.control.GrowVolume(
                  AskOf(from), from.name(), from.size_bytes(),
                  std::vector<std::string>(from.add_legs().begin(), from.add_legs().end())),
              to);
}

absl::Status Delete(Host& host, const v1::DeleteVolumeRequest& from, v1::DeleteVolumeResponse&) {
  return host.control->management.control.DeleteVolume(AskOf(from), from.name());
}

}  // namespace

void AwaitVolumes(Host& host, ::grpc::ServerCompletionQueue& cq) {
  Service& service = host.control->volume;
  AwaitControl<Create>(host, cq, service, &Service::RequestCreateVolume);
  AwaitControl<Get>(host, cq, service, &Service::RequestGetVolume);
  AwaitControl<List>(host, cq, service, &Service::RequestListVolumes);
  AwaitControl<Grow>(host, cq, service, &Service::RequestGrowVolume);
  AwaitControl<Delete>(host, cq, service, &Service::RequestDeleteVolume);
}

}  // namespace sluice::rpc
