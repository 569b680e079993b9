// SPDX-License-Identifier: Apache-2.0
// What `sluice` does with a server's control services. Each runs to its end on the calling thread,
// writes what was asked for to stdout, as a table or as JSON, and what went wrong to stderr, and
// returns the exit status: 0 all is well, 1 something failed.
//
// What a command is told is the request it sends; commands give it a request_id if it has none.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "client/control/link.h"
#include "sluice/v1/disk.pb.h"
#include "sluice/v1/export.pb.h"
#include "sluice/v1/server.pb.h"
#include "sluice/v1/volume.pb.h"

namespace sluice::control {

int ListDisks(const Link& link, bool json);
int ShowDisk(const Link& link, const std::string& name, bool json);
int AddDisk(const Link& link, v1::AddDiskRequest request, bool json);
int ListStrategies(const Link& link, bool json);
int SwapStrategy(const Link& link, v1::SwapStrategyRequest request, bool json);
int SetDepth(const Link& link, v1::SetDepthRequest request, bool json);
int RemoveDisk(const Link& link, v1::RemoveDiskRequest request);
int RescanDisk(const Link& link, v1::RescanDiskRequest request, bool json);
// `wait`: shows how far it is until it has ended.
int DrainDisk(const Link& link, v1::DrainDiskRequest request, bool wait, bool json);

int ListVolumes(const Link& link, bool json);
int ShowVolume(const Link& link, const std::string& name, bool json);
int CreateVolume(const Link& link, v1::CreateVolumeRequest request, bool json);
int GrowVolume(const Link& link, v1::GrowVolumeRequest request, bool json);
int DeleteVolume(const Link& link, v1::DeleteVolumeRequest request);

int ListExports(const Link& link, bool json);
int ShowExport(const Link& link, const std::string& name, bool json);
int CreateExport(const Link& link, v1::CreateExportRequest request, bool json);
int UpdateExport(const Link& link, v1::UpdateExportRequest request, bool json);
int DeleteExport(const Link& link, v1::DeleteExportRequest request);

// `export_name` empty: of all.
int ListSessions(const Link& link, const std::string& export_name, bool json);
int RevokeSession(const Link& link, v1::RevokeSessionRequest request);

int ListOperations(const Link& link, bool json);
int ShowOperation(const Link& link, const std::string& id, bool json);
// 1 too when the operation failed or was cancelled. `patience_ms` 0: to its end.
int WaitOperation(const Link& link, const std::string& id, uint64_t patience_ms, bool json);
int CancelOperation(const Link& link, const std::string& id, bool json);

struct EventOptions {
  uint64_t since = 0;   // revision; 0: all that the server keeps, or with `follow` from now on
  bool follow = false;  // until interrupted
  bool json = false;    // one object a line
  // How long all of it may take, unless `follow`.
  std::chrono::milliseconds patience = Link::kPatience;
};
int ShowEvents(const Link& link, const EventOptions& options);

int ShowServer(const Link& link, bool json);
int SetLogLevel(const Link& link, v1::Severity least);
int DrainServer(const Link& link, uint32_t timeout_ms);

struct TopOptions {
  uint32_t interval_ms = 1000;
  uint64_t count = 0;  // of tables; 0: until it is left
  bool json = false;   // one object a line
};
int Top(const Link& link, const TopOptions& options);

// Names for the shell's completion, nothing if the server does not answer within a second.
enum class Named : uint8_t { kDisk, kVolume, kTarget, kExport, kSession, kOperation, kStrategy };
std::vector<std::string> NamesOf(const Link& link, Named what);

}  // namespace sluice::control
