// SPDX-License-Identifier: Apache-2.0
// Names for the shell's completion.
#include "client/control/commands.h"
#include "client/control/pages.h"
#include "sluice/v1/disk.grpc.pb.h"
#include "sluice/v1/export.grpc.pb.h"
#include "sluice/v1/operation.grpc.pb.h"
#include "sluice/v1/volume.grpc.pb.h"

namespace sluice::control {
namespace {

// Somebody has pressed Tab and waits.
constexpr std::chrono::milliseconds kPatience{1000};

using Names = std::vector<std::string>;

// `name` of each of the items, if they came.
template <typename Items, typename Name>
void Take(const Items& items, Names& names, Name name) {
  if (!items.ok()) return;
  for (const auto& item : *items) names.push_back(name(item));
}

void TakeDisks(const Link& link, Names& names) {
  using Stub = v1::DiskService::Stub;
  const auto stub = v1::DiskService::NewStub(link.channel());
  Take(AskAll(link, *stub, &Stub::ListDisks, &v1::ListDisksResponse::mutable_disks, {}, kPatience),
       names, [](const auto& disk) { return disk.spec().name(); });
}

void TakeVolumes(const Link& link, Names& names) {
  using Stub = v1::VolumeService::Stub;
  const auto stub = v1::VolumeService::NewStub(link.channel());
  Take(AskAll(link, *stub, &Stub::ListVolumes, &v1::ListVolumesResponse::mutable_volumes, {},
              kPatience),
       names, [](const auto& volume) { return volume.spec().name(); });
}

void TakeExports(const Link& link, Names& names) {
  using Stub = v1::ExportService::Stub;
  const auto stub = v1::ExportService::NewStub(link.channel());
  Take(AskAll(link, *stub, &Stub::ListExports, &v1::ListExportsResponse::mutable_exports, {},
              kPatience),
       names, [](const auto& exported) { return exported.spec().name(); });
}

void TakeSessions(const Link& link, Names& names) {
  using Stub = v1::SessionService::Stub;
  const auto stub = v1::SessionService::NewStub(link.channel());
  Take(AskAll(link, *stub, &Stub::ListSessions, &v1::ListSessionsResponse::mutable_sessions, {},
              kPatience),
       names, [](const auto& session) { return session.handle(); });
}

void TakeOperations(const Link& link, Names& names) {
  using Stub = v1::OperationService::Stub;
  const auto stub = v1::OperationService::NewStub(link.channel());
  Take(AskAll(link, *stub, &Stub::ListOperations, &v1::ListOperationsResponse::mutable_operations,
              {}, kPatience),
       names, [](const auto& operation) { return operation.id(); });
}

void TakeStrategies(const Link& link, Names& names) {
  using Stub = v1::DiskService::Stub;
  const auto stub = v1::DiskService::NewStub(link.channel());
  const auto answer =
      Ask(link, *stub, &Stub::ListStrategies, v1::ListStrategiesRequest(), kPatience);
  if (!answer.ok()) return;
  for (const auto& strategy : answer->strategies()) names.push_back(strategy.name());
}

}  // namespace

std::vector<std::string> NamesOf(const Link& link, Named what) {
  Names names;
  switch (what) {
    case Named::kTarget:
      TakeVolumes(link, names);
      [[fallthrough]];
    case Named::kDisk:
      TakeDisks(link, names);
      break;
    case Named::kVolume:
      TakeVolumes(link, names);
      break;
    case Named::kExport:
      TakeExports(link, names);
      break;
    case Named::kSession:
      TakeSessions(link, names);
      break;
    case Named::kOperation:
      TakeOperations(link, names);
      break;
    case Named::kStrategy:
      TakeStrategies(link, names);
      break;
  }
  return names;
}

}  // namespace sluice::control
