// SPDX-License-Identifier: Apache-2.0
// `sluice export ...` and `sluice session ...`
#include "absl/strings/str_cat.h"
#include "client/command/text.h"
#include "client/control/commands.h"
#include "client/control/json.h"
#include "client/control/pages.h"
#include "client/control/table.h"
#include "client/control/words.h"
#include "sluice/v1/export.grpc.pb.h"

namespace sluice::control {
namespace {

using command::SizeText;
using Exports = v1::ExportService::Stub;
using Sessions = v1::SessionService::Stub;

std::unique_ptr<Exports> ExportsOf(const Link& link) {
  return v1::ExportService::NewStub(link.channel());
}
std::unique_ptr<Sessions> SessionsOf(const Link& link) {
  return v1::SessionService::NewStub(link.channel());
}

const char* ModeOf(const v1::ExportStatus& exported) {
  return exported.spec().read_only() || exported.geometry().read_only() ? "ro" : "rw";
}

std::string PriorityOf(const v1::Export& spec) {
  return absl::StrCat(spec.has_priority() ? spec.priority() : 1);
}

std::string WeightOf(const v1::Export& spec) {
  return absl::StrCat(spec.weight() == 0 ? 100 : spec.weight());
}

std::string UsersOf(const v1::ExportStatus& exported) {
  return absl::StrCat(exported.sessions() + exported.nbd_connections());
}

void PrintExport(const v1::ExportStatus& exported, bool json) {
  if (json) return Print(JsonOf(exported) + "\n");
  const v1::Geometry& geometry = exported.geometry();
  Facts facts;
  facts.Add("name", exported.spec().name());
  facts.Add("volume", exported.spec().volume());
  facts.Add("size",
            absl::StrCat(SizeText(geometry.size_bytes()), " (", geometry.size_bytes(), ")"));
  facts.Add("block", SizeText(geometry.block_size_bytes()));
  facts.Add("mode", ModeOf(exported));
  if (!exported.spec().description().empty()) {
    facts.Add("description", exported.spec().description());
  }
  facts.Add("priority", PriorityOf(exported.spec()));
  facts.Add("weight", WeightOf(exported.spec()));
  facts.Add("exclusive", exported.spec().exclusive() == v1::EXCLUSIVE_SESSIONS
                             ? "a writing session keeps other writing sessions out"
                             : "a writing session keeps everybody else who writes out");
  facts.Add("used by", absl::StrCat(exported.sessions(), " gRPC sessions, ",
                                    exported.nbd_connections(), " NBD connections"));
  facts.Add("epoch", absl::StrCat(exported.epoch()));
  facts.Add("made", exported.made_at_run_time() ? "at run time" : "by the config file");
  facts.Add("etag", exported.etag());
  Print(facts.Text(WantsColour()));
}

std::string AccessOf(const v1::SessionStatus& session) {
  switch (session.access_mode()) {
    case v1::ACCESS_MODE_READ_ONLY:
      return "ro";
    case v1::ACCESS_MODE_READ_WRITE:
      return "rw";
    case v1::ACCESS_MODE_READ_WRITE_SHARED:
      return "shared";
    default:
      return "-";
  }
}

}  // namespace

int ListExports(const Link& link, bool json) {
  const auto exports = AskAll(link, *ExportsOf(link), &Exports::ListExports,
                              &v1::ListExportsResponse::mutable_exports);
  if (!exports.ok()) return Fail(exports.status());
  if (json) return Print(JsonList(*exports)), 0;
  Table table({"NAME", ">SIZE", "MODE", "VOLUME", ">USERS", "DESCRIPTION"});
  for (const v1::ExportStatus& exported : *exports) {
    table.Add({exported.spec().name(), SizeText(exported.geometry().size_bytes()), ModeOf(exported),
               exported.spec().volume(), UsersOf(exported), exported.spec().description()});
  }
  Print(table.Text(WantsColour()));
  return 0;
}

int ShowExport(const Link& link, const std::string& name, bool json) {
  v1::GetExportRequest request;
  request.set_name(name);
  const auto answer = Ask(link, *ExportsOf(link), &Exports::GetExport, request);
  if (!answer.ok()) return Fail(answer.status());
  PrintExport(answer->export_(), json);
  return 0;
}

int CreateExport(const Link& link, v1::CreateExportRequest request, bool json) {
  if (request.request_id().empty()) request.set_request_id(NewRequestId());
  const auto answer = Ask(link, *ExportsOf(link), &Exports::CreateExport, request);
  if (!answer.ok()) return Fail(answer.status());
  if (json) return PrintExport(answer->export_(), true), 0;
  Print(absl::StrCat("export ", request.export_().name(), " created, ",
                     SizeText(answer->export_().geometry().size_bytes()), " of ",
                     request.export_().volume(), "\n"));
  return 0;
}

int UpdateExport(const Link& link, v1::UpdateExportRequest request, bool json) {
  if (request.request_id().empty()) request.set_request_id(NewRequestId());
  const auto answer = Ask(link, *ExportsOf(link), &Exports::UpdateExport, request);
  if (!answer.ok()) return Fail(answer.status());
  if (json) return PrintExport(answer->export_(), true), 0;
  const v1::Export& spec = answer->export_().spec();
  Print(absl::StrCat("export ", request.name(), " updated: ", ModeOf(answer->export_()),
                     ", priority ", PriorityOf(spec), ", weight ", WeightOf(spec), "\n"));
  return 0;
}

int DeleteExport(const Link& link, v1::DeleteExportRequest request) {
  if (request.request_id().empty()) request.set_request_id(NewRequestId());
  const auto answer = Ask(link, *ExportsOf(link), &Exports::DeleteExport, request);
  if (!answer.ok()) return Fail(answer.status());
  Print(absl::StrCat("export ", request.name(), " deleted; the data stays where it is\n"));
  return 0;
}

int ListSessions(const Link& link, const std::string& export_name, bool json) {
  v1::ListSessionsRequest request;
  request.set_export_name(export_name);
  const auto sessions = AskAll(link, *SessionsOf(link), &Sessions::ListSessions,
                               &v1::ListSessionsResponse::mutable_sessions, request);
  if (!sessions.ok()) return Fail(sessions.status());
  if (json) return Print(JsonList(*sessions)), 0;
  const int64_t now = UnixNow();
  Table table({"HANDLE", "EXPORT", "DOOR", "MODE", "PEER", "CLIENT", ">SINCE", ">READ", ">WRITTEN",
               ">INFLIGHT"});
  for (const v1::SessionStatus& session : *sessions) {
    table.Add({session.handle(), session.export_name(),
               EnumText(*v1::SessionDoor_descriptor(), session.door()), AccessOf(session),
               session.peer(), session.client_id().empty() ? "-" : session.client_id(),
               AgeText(session.began_unix_ns(), now), SizeText(session.read_bytes()),
               SizeText(session.written_bytes()), absl::StrCat(session.inflight())});
  }
  Print(table.Text(WantsColour()));
  return 0;
}

int RevokeSession(const Link& link, v1::RevokeSessionRequest request) {
  if (request.request_id().empty()) request.set_request_id(NewRequestId());
  const auto answer = Ask(link, *SessionsOf(link), &Sessions::RevokeSession, request);
  if (!answer.ok()) return Fail(answer.status());
  Print(absl::StrCat("session ", request.handle(),
                     " revoked: what it had queued is dropped, nothing of it is on its way to a "
                     "drive\n"));
  return 0;
}

}  // namespace sluice::control
