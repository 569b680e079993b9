// SPDX-License-Identifier: Apache-2.0
#include "client/control/json.h"

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/command/text.h"

namespace sluice::control {
namespace {

using command::JsonText;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// READ_ONLY of ACCESS_MODE_READ_ONLY: enums prefix their values with their own name.
size_t PrefixOf(const EnumDescriptor& type) {
  const std::string& first = type.value(0)->name();
  const size_t end = first.rfind("UNSPECIFIED");
  return end == std::string::npos ? 0 : end;
}

std::string TextOf(const FieldDescriptor& field, const std::string& value) {
  if (field.type() == FieldDescriptor::TYPE_BYTES) {
    const std::string encoded = absl::Base64Escape(value);
    return JsonText(encoded);
  }
  return JsonText(value);
}

std::string SingleOf(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return absl::StrCat(reflection.GetInt32(message, &field));
    case FieldDescriptor::CPPTYPE_INT64:
      return absl::StrCat(reflection.GetInt64(message, &field));
    case FieldDescriptor::CPPTYPE_UINT32:
      return absl::StrCat(reflection.GetUInt32(message, &field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return absl::StrCat(reflection.GetUInt64(message, &field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return absl::StrCat(reflection.GetDouble(message, &field));
    case FieldDescriptor::CPPTYPE_FLOAT:
      return absl::StrCat(reflection.GetFloat(message, &field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return JsonText(EnumText(*field.enum_type(), reflection.GetEnumValue(message, &field)));
    case FieldDescriptor::CPPTYPE_STRING:
      return TextOf(field, reflection.GetString(message, &field));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return JsonOf(reflection.GetMessage(message, &field));
  }
  return "null";
}

std::string ElementOf(const Message& message, const FieldDescriptor& field, int index) {
  const Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32:
      return absl::StrCat(reflection.GetRepeatedUInt32(message, &field, index));
    case FieldDescriptor::CPPTYPE_UINT64:
      return absl::StrCat(reflection.GetRepeatedUInt64(message, &field, index));
    case FieldDescriptor::CPPTYPE_STRING:
      return TextOf(field, reflection.GetRepeatedString(message, &field, index));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return JsonOf(reflection.GetRepeatedMessage(message, &field, index));
    default:
      return "null";
  }
}

std::string RepeatedOf(const Message& message, const FieldDescriptor& field) {
  std::vector<std::string> elements;
  for (int i = 0; i < message.GetReflection()->FieldSize(message, &field); ++i) {
    elements.push_back(ElementOf(message, field, i));
  }
  return absl::StrCat("[", absl::StrJoin(elements, ", "), "]");
}

}  // namespace

std::string EnumText(const EnumDescriptor& type, int number) {
  const auto* value = type.FindValueByNumber(number);
  if (value == nullptr) return absl::StrCat(number);
  return absl::AsciiStrToLower(value->name().substr(PrefixOf(type)));
}

std::string JsonOf(const Message& message) {
  const Reflection& reflection = *message.GetReflection();
  std::vector<std::string> members;
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *message.GetDescriptor()->field(i);
    const bool there =
        field.is_repeated() || !field.has_presence() || reflection.HasField(message, &field);
    if (!there) continue;
    const std::string value =
        field.is_repeated() ? RepeatedOf(message, field) : SingleOf(message, field);
    members.push_back(absl::StrCat(JsonText(field.name()), ": ", value));
  }
  return absl::StrCat("{", absl::StrJoin(members, ", "), "}");
}

}  // namespace sluice::control
