// SPDX-License-Identifier: Apache-2.0
#include "server/grpc/control_convert.h"

#include "server/config_messages.h"
#include "server/grpc/convert.h"
#include "server/grpc/status.h"

namespace sluice::rpc {

void Describe(const DiskInfo& from, v1::DiskStatus& to) {
  ToMessage(from.spec, *to.mutable_spec());
  to.set_etag(from.etag);
  to.set_state(static_cast<v1::DiskState>(from.state));
  to.set_reason(from.reason);
  to.set_state_since_unix_ns(from.since_unix_ns);
  to.set_size_bytes(from.limits.size);
  to.set_block_size_bytes(from.device_block_bytes);
  to.set_logical_block_size_bytes(from.limits.logical_block);
  to.set_strategy(from.strategy);
  to.set_depth(from.depth);
  to.set_rotational(from.limits.rotational);
  to.set_read_only(from.limits.read_only);
  to.set_can_trim(from.limits.can_trim);
  to.set_can_fast_zero(from.limits.can_fast_zero);
  to.set_home_reactor(from.home);
  to.mutable_used_by()->Assign(from.used_by.begin(), from.used_by.end());
  to.set_added_at_run_time(from.made_at_run_time);
}

void Describe(const VolumeInfo& from, v1::VolumeStatus& to) {
  ToMessage(from.spec, *to.mutable_spec());
  to.set_etag(from.etag);
  to.set_size_bytes(from.limits.size);
  to.set_block_size_bytes(from.limits.logical_block);
  to.set_home_reactor(from.home);
  to.mutable_used_by()->Assign(from.used_by.begin(), from.used_by.end());
  to.set_made_at_run_time(from.made_at_run_time);
}

void Describe(const ExportStatus& from, v1::ExportStatus& to) {
  ToMessage(from.exported->config, *to.mutable_spec());
  to.set_etag(from.etag);
  Describe(*from.exported, *to.mutable_geometry());
  const auto count = [&from](const char* door) {
    const auto found = from.clients.find(door);
    return found == from.clients.end() ? 0 : found->second;
  };
  to.set_sessions(count(kGrpcClients));
  to.set_nbd_connections(count(kNbdClients));
  to.set_made_at_run_time(from.made_at_run_time);
}

void Describe(const Client& from, v1::SessionStatus& to) {
  to.set_handle(from.handle);
  to.set_door(DoorOf(from.handle) == kNbdClients ? v1::SESSION_DOOR_NBD : v1::SESSION_DOOR_GRPC);
  to.set_export_name(from.exported->name);
  to.set_peer(from.peer);
  to.set_client_id(from.client_id);
  to.set_instance_id(from.instance_id);
  to.set_access_mode(static_cast<v1::AccessMode>(from.access_mode));
  to.set_epoch(from.epoch);
  to.set_lease_left_ms(from.lease_left_ms);
  to.set_streams(from.streams);
  to.set_inflight(from.inflight);
  to.set_reads(from.reads);
  to.set_writes(from.writes);
  to.set_read_bytes(from.read_bytes);
  to.set_written_bytes(from.written_bytes);
  to.set_began_unix_ns(from.began_unix_ns);
}

void Describe(const Operation& from, v1::Operation& to) {
  to.set_id(from.id);
  to.set_title(from.title);
  to.set_state(static_cast<v1::OperationState>(from.state));
  to.set_done(from.done);
  to.set_total(from.total);
  if (!from.error.ok()) {
    Describe(from.error, *to.mutable_error());
    to.set_error_text(std::string(from.error.message()));
  }
  to.set_began_unix_ns(from.began_unix_ns);
  to.set_ended_unix_ns(from.ended_unix_ns);
}

void Describe(const Event& from, v1::Event& to) {
  to.set_revision(from.revision);
  to.set_unix_ns(from.unix_ns);
  to.set_kind(static_cast<v1::EventKind>(from.kind));
  to.set_subject(from.subject);
  to.set_text(from.text);
}

}  // namespace sluice::rpc
