// SPDX-License-Identifier: Apache-2.0
#include "server/control/clients.h"

#include <algorithm>
#include <latch>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "core/check.h"
#include "server/nbd/roster.h"
#include "server/text.h"

namespace sluice {

void NbdClients::WatchBy(EventLog& events) {
  door_.Watch([&events](nbd::ClientEvent event, const nbd::Member& member, absl::string_view why) {
    const EventKind kind = event == nbd::ClientEvent::kOpened   ? EventKind::kSessionOpened
                           : event == nbd::ClientEvent::kClosed ? EventKind::kSessionClosed
                                                                : EventKind::kSessionFenced;
    events.Add(kind, absl::StrCat(kNbdClients, "-", member.id()),
               absl::StrCat("export ", Quote(member.exported()->name), ", ", member.peer_text(),
                            why.empty() ? "" : ": ", why));
  });
}

std::vector<Client> NbdClients::List() {
  SLUICE_CHECK(Reactor::Current() == nullptr);
  std::vector<std::vector<nbd::Roster::Opened>> parts(reactors_.size());
  std::latch told(reactors_.size());
  for (uint16_t id = 0; id < reactors_.size(); ++id) {
    reactors_.at(id).Post([this, id, &parts, &told] {
      door_.roster(id).ListMembers(parts[id]);
      told.count_down();
    });
  }
  told.wait();
  std::vector<Client> clients;
  for (const auto& part : parts) {
    for (const nbd::Roster::Opened& opened : part) {
      Client& client = clients.emplace_back();
      client.handle = absl::StrCat(kNbdClients, "-", opened.id);
      client.exported = opened.exported;
      client.peer = opened.peer;
      client.inflight = opened.inflight;
      client.reads = opened.counts.reads;
      client.writes = opened.counts.writes;
      client.read_bytes = opened.counts.read_bytes;
      client.written_bytes = opened.counts.written_bytes;
      client.began_unix_ns = opened.began_unix_ns;
    }
  }
  return clients;
}

void NbdClients::End(const std::function<bool(const Client&)>& which, const std::string& why) {
  absl::flat_hash_set<std::string> handles;
  for (const Client& client : List()) {
    if (which(client)) handles.insert(client.handle);
  }
  std::latch gone(reactors_.size());
  for (uint16_t id = 0; id < reactors_.size(); ++id) {
    reactors_.at(id).Post([this, id, &handles, &why, &gone] {
      const auto wanted = [&handles](const nbd::Member& member) {
        return handles.contains(absl::StrCat(kNbdClients, "-", member.id()));
      };
      door_.roster(id).CutIf(wanted, why, [&gone] { gone.count_down(); });
    });
  }
  gone.wait();
}

}  // namespace sluice
