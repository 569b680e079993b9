// SPDX-License-Identifier: Apache-2.0
// What the control plane tells, as messages. Any thread.
#pragma once

#include <string>

#include "server/control/control.h"
#include "sluice/v1/disk.pb.h"
#include "sluice/v1/export.pb.h"
#include "sluice/v1/operation.pb.h"
#include "sluice/v1/stats.pb.h"
#include "sluice/v1/volume.pb.h"

namespace sluice::rpc {

void Describe(const DiskInfo& from, v1::DiskStatus& to);
void Describe(const VolumeInfo& from, v1::VolumeStatus& to);
// But for its newest epoch, which the registry knows.
void Describe(const ExportStatus& from, v1::ExportStatus& to);
void Describe(const Client& from, v1::SessionStatus& to);
void Describe(const Operation& from, v1::Operation& to);
void Describe(const Event& from, v1::Event& to);

}  // namespace sluice::rpc
