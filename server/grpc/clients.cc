// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/clients.h"

#include <latch>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/check.h"

namespace sluice::rpc {
namespace {

std::string HandleOf(uint64_t handle) { return absl::StrCat(kGrpcClients, "-", handle); }

Client Tell(const SessionInfo& info) {
  Client client;
  client.handle = HandleOf(info.handle);
  client.exported = info.exported;
  client.peer = info.peer;
  client.client_id = info.client_id;
  client.instance_id = info.instance_id;
  client.access_mode = static_cast<uint8_t>(info.mode);
  client.epoch = info.epoch;
  client.lease_left_ms = info.lease_left_ms;
  client.began_unix_ns = info.began_unix_ns;
  const Session::Counts& counts = info.session->counts();
  client.reads = counts.ops[static_cast<int>(Op::kRead)].value();
  client.writes = counts.ops[static_cast<int>(Op::kWrite)].value();
  client.read_bytes = counts.bytes[static_cast<int>(Op::kRead)].value();
  client.written_bytes = counts.bytes[static_cast<int>(Op::kWrite)].value();
  return client;
}

}  // namespace

void Clients::WatchBy(EventLog& events) {
  registry_.Watch([&events](SessionEvent event, uint64_t handle, const std::string& text) {
    const EventKind kind = event == SessionEvent::kOpened   ? EventKind::kSessionOpened
                           : event == SessionEvent::kClosed ? EventKind::kSessionClosed
                                                            : EventKind::kSessionFenced;
    events.Add(kind, HandleOf(handle), text);
  });
}

std::vector<SessionInfo> Clients::Sessions() {
  SLUICE_CHECK(Reactor::Current() == nullptr);
  std::vector<SessionInfo> sessions;
  std::latch told(1);
  here_.Post([&] {
    sessions = registry_.List();
    told.count_down();
  });
  told.wait();
  return sessions;
}

std::vector<Client> Clients::List() {
  const std::vector<SessionInfo> sessions = Sessions();
  std::vector<Client> clients;
  for (const SessionInfo& info : sessions) clients.push_back(Tell(info));
  std::latch told(static_cast<std::ptrdiff_t>(sessions.size()));
  for (size_t i = 0; i < sessions.size(); ++i) {
    const Session& session = *sessions[i].session;
    session.reactor().Post([&session, &client = clients[i], &told] {
      client.inflight = session.inflight();
      client.streams = session.streams();
      told.count_down();
    });
  }
  told.wait();
  return clients;
}

void Clients::OnGrown(const std::shared_ptr<const Export>& exported) {
  here_.Post([this, exported] { registry_.OnExportChanged(exported, [] {}); });
}

void Clients::End(const std::function<bool(const Client&)>& which, const std::string&) {
  std::vector<uint64_t> handles;
  for (const SessionInfo& info : Sessions()) {
    if (which(Tell(info))) handles.push_back(info.handle);
  }
  std::latch gone(static_cast<std::ptrdiff_t>(handles.size()) + 1);
  here_.Post([this, &handles, &gone] {
    for (const uint64_t handle : handles) {
      registry_.Revoke(handle, [&gone](Reason) { gone.count_down(); });
    }
    gone.count_down();
  });
  gone.wait();
}

}  // namespace sluice::rpc
