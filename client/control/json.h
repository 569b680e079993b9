// SPDX-License-Identifier: Apache-2.0
// Messages as JSON for programs: fields by their names in the schema, integers of any size as
// numbers, enums as the last part of their names in lower case ("online"), singular numbers, texts
// and enums always there, messages and members of a oneof only if set.
#pragma once

#include <google/protobuf/message.h>
#include <google/protobuf/repeated_ptr_field.h>

#include <string>

namespace sluice::control {

// On one line.
std::string JsonOf(const google::protobuf::Message& message);

// "online" of DISK_STATE_ONLINE: what follows the enum's own name. `number` unknown: its digits.
std::string EnumText(const google::protobuf::EnumDescriptor& type, int number);

// An array, an element a line, with the last newline.
template <typename T>
std::string JsonList(const google::protobuf::RepeatedPtrField<T>& messages) {
  std::string out = "[";
  const char* separator = "";
  for (const T& message : messages) {
    out += separator + JsonOf(message);
    separator = ",\n ";
  }
  return out + "]\n";
}

}  // namespace sluice::control
