// SPDX-License-Identifier: Apache-2.0
#include "client/control/describe.h"

#include <algorithm>

#include "sluice/v1/block.grpc.pb.h"

namespace sluice::control {

Result<VolumeInfo> DescribeExport(const Link& link, const std::string& export_name) {
  using Stub = v1::BlockService::Stub;
  const auto stub = v1::BlockService::NewStub(link.channel());
  v1::OpenVolumeRequest request;
  request.set_export_name(export_name);
  request.set_access_mode(v1::ACCESS_MODE_READ_ONLY);  // in nobody's way
  request.set_client_id(NewRequestId());
  request.set_instance_id("sluice stat");
  const auto opened = Ask(link, *stub, &Stub::OpenVolume, request);
  if (!opened.ok()) return opened.status();
  v1::CloseVolumeRequest close;
  close.set_session_id(opened->session_id());
  close.set_epoch(opened->epoch());
  if (auto closed = Ask(link, *stub, &Stub::CloseVolume, close); !closed.ok()) {
    return closed.status();
  }
  const v1::Geometry& geometry = opened->geometry();
  VolumeInfo info;
  info.size_bytes = geometry.size_bytes();
  info.block_bytes = geometry.block_size_bytes();
  info.preferred_bytes = geometry.preferred_size_bytes();
  info.max_transfer_bytes = opened->limits().max_op_bytes();
  info.connections = std::min(opened->limits().max_streams(), 2u);
  info.read_only = geometry.read_only();
  info.can_flush = true;
  info.can_fua = true;
  info.can_discard = geometry.can_discard();
  info.can_write_zeroes = geometry.can_write_zeroes();
  info.can_tell_extents = true;
  info.rotational = geometry.rotational();
  return info;
}

}  // namespace sluice::control
