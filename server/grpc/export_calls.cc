// SPDX-License-Identifier: Apache-2.0
// ExportService and SessionService.
#include <algorithm>
#include <latch>
#include <map>

#include "server/config_messages.h"
#include "server/grpc/control_convert.h"
#include "server/grpc/control_services.h"

namespace sluice::rpc {
namespace {

// The registry lives on a reactor: all are asked for in one go.
void AddEpochs(Host& host, const std::vector<v1::ExportStatus*>& exports) {
  std::latch told(1);
  host.here.Post([&] {
    for (v1::ExportStatus* each : exports) {
      each->set_epoch(host.registry.NewestEpoch(each->spec().name()));
    }
    told.count_down();
  });
  told.wait();
}

template <typename Response>
absl::Status Told(Host& host, const absl::StatusOr<ExportStatus>& status, Response& to) {
  if (!status.ok()) return status.status();
  Describe(*status, *to.mutable_export_());
  AddEpochs(host, {to.mutable_export_()});
  return absl::OkStatus();
}

absl::Status Create(Host& host, const v1::CreateExportRequest& from, v1::CreateExportResponse& to) {
  ExportConfig config;
  FromMessage(from.export_(), config);
  return Told(host, host.control->management.control.CreateExport(AskOf(from), config), to);
}

absl::Status Get(Host& host, const v1::GetExportRequest& from, v1::GetExportResponse& to) {
  return Told(host, host.control->management.control.GetExport(from.name()), to);
}

absl::Status List(Host& host, const v1::ListExportsRequest& from, v1::ListExportsResponse& to) {
  std::vector<v1::ExportStatus*> listed;
  const absl::Status status = Page(
      from, host.control->management.control.ListExports(),
      [](const ExportStatus& each) { return each.exported->name; },
      [&](const ExportStatus& each) {
        listed.push_back(to.add_exports());
        Describe(each, *listed.back());
      },
      to);
  AddEpochs(host, listed);
  return status;
}

absl::Status Update(Host& host, const v1::UpdateExportRequest& from, v1::UpdateExportResponse& to) {
  const auto change = [&from](ExportConfig& config) {
    if (from.has_description()) config.description = from.description();
    if (from.has_read_only()) config.read_only = from.read_only();
    if (from.has_priority()) config.priority = from.priority();
    if (from.has_weight()) config.weight = from.weight();
  };
  return Told(host,
              host.control->management.control.UpdateExport(AskOf(from), from.name(),
                                                            from.SerializeAsString(), change),
              to);
}

absl::Status Delete(Host& host, const v1::DeleteExportRequest& from, v1::DeleteExportResponse&) {
  return host.control->management.control.DeleteExport(AskOf(from), from.name(), from.force());
}

absl::Status ListSessions(Host& host, const v1::ListSessionsRequest& from,
                          v1::ListSessionsResponse& to) {
  std::vector<Client> clients = host.control->management.control.ListClients();
  std::erase_if(clients, [&from](const Client& each) {
    return !from.export_name().empty() && each.exported->name != from.export_name();
  });
  std::sort(clients.begin(), clients.end(),
            [](const Client& a, const Client& b) { return a.handle < b.handle; });
  return Page(
      from, clients, [](const Client& each) { return each.handle; },
      [&to](const Client& each) { Describe(each, *to.add_sessions()); }, to);
}

absl::Status Revoke(Host& host, const v1::RevokeSessionRequest& from, v1::RevokeSessionResponse&) {
  return host.control->management.control.EndClient(AskOf(from), from.handle());
}

}  // namespace

void AwaitExports(Host& host, ::grpc::ServerCompletionQueue& cq) {
  using Exports = v1::ExportService::AsyncService;
  Exports& exports = host.control->exports;
  AwaitControl<Create>(host, cq, exports, &Exports::RequestCreateExport);
  AwaitControl<Get>(host, cq, exports, &Exports::RequestGetExport);
  AwaitControl<List>(host, cq, exports, &Exports::RequestListExports);
  AwaitControl<Update>(host, cq, exports, &Exports::RequestUpdateExport);
  AwaitControl<Delete>(host, cq, exports, &Exports::RequestDeleteExport);
  using Sessions = v1::SessionService::AsyncService;
  Sessions& sessions = host.control->session;
  AwaitControl<ListSessions>(host, cq, sessions, &Sessions::RequestListSessions);
  AwaitControl<Revoke>(host, cq, sessions, &Sessions::RequestRevokeSession);
}

}  // namespace sluice::rpc
