// SPDX-License-Identifier: Apache-2.0
// The messages of sluice.v1 that both the config file and the control services describe things by,
// as plain structs and back. Only what a message by itself can have wrong is looked for here; the
// rest is CompleteAndCheck()'s (server/config.h). Any thread.
#pragma once

#include <optional>
#include <string>

#include "server/config.h"

namespace sluice {

namespace v1 {
class Disk;
class Export;
class Volume;
}  // namespace v1

// `key` is where the message stands, for the problem.
std::optional<ConfigProblem> FromMessage(const std::string& key, const v1::Disk& from,
                                         DiskSpec& to);
std::optional<ConfigProblem> FromMessage(const std::string& key, const v1::Volume& from,
                                         VolumeSpec& to);
void FromMessage(const v1::Export& from, ExportConfig& to);

// Every field is said, also one that has its default. `to` is empty.
void ToMessage(const DiskSpec& from, v1::Disk& to);
void ToMessage(const VolumeSpec& from, v1::Volume& to);
void ToMessage(const ExportConfig& from, v1::Export& to);

}  // namespace sluice
