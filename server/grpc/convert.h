// SPDX-License-Identifier: Apache-2.0
// Messages to plain structs and back. Any thread.
#pragma once

#include <string>
#include <vector>

#include "server/export_table.h"
#include "server/grpc/op.h"
#include "sluice/v1/block.pb.h"

namespace sluice::rpc {

// The ops of a message, which stays while they are used. What is wrong with an op -- unknown kind
// or flag, a payload that is not there, a wrong checksum, an id that does not rise -- is noted in
// it as its refusal.
void ToOps(const v1::IoRequest& message, std::vector<OpRequest>& ops);

// Bits of Op.flags as BioFlags; false: one is unknown, or not for this op.
bool ToFlags(uint32_t flags, Op op, uint8_t& bio_flags);

// The memory of a READ that is done: appended to `to`; its checksum is returned.
uint32_t AppendData(const Bio& bio, std::string& to);

void Describe(const Export& exported, v1::Geometry& geometry);

}  // namespace sluice::rpc
