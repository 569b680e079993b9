// SPDX-License-Identifier: Apache-2.0
#include "server/config.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/json_util.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "core/check.h"
#include "server/config_messages.h"
#include "server/text.h"
#include "sluice/v1/config.pb.h"

namespace sluice {
namespace {

namespace pb = google::protobuf;
using Problem = std::optional<ConfigProblem>;
using Tree = pb::TextFormat::ParseInfoTree;

constexpr size_t kMaxFile = kMiB;
constexpr int kMaxNesting = 16;  // the schema itself nests 3 deep

Problem Wrong(std::string key, std::string text) {
  return ConfigProblem{std::move(key), std::move(text)};
}

// Keeps the first error of a text format parse.
class FirstError final : public pb::io::ErrorCollector {
 public:
  void AddError(int line, int column, const std::string& text) override {
    if (line_ >= 0) return;
    line_ = line < 0 ? 0 : line;
    column_ = column < 0 ? 0 : column;
    text_ = text;
  }

  // `FILE:LINE: key: text`; the key is the last word before the place of the error.
  std::string Describe(const std::string& file, const std::string& source) const {
    const std::vector<absl::string_view> lines = absl::StrSplit(source, '\n');
    absl::string_view line = "";
    if (static_cast<size_t>(line_) < lines.size()) line = lines[static_cast<size_t>(line_)];
    absl::string_view before = line.substr(0, std::min(line.size(), static_cast<size_t>(column_)));
    const auto is_word = [](char c) {
      return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_';
    };
    while (!before.empty() && !is_word(before.back())) before.remove_suffix(1);
    size_t begin = before.size();
    while (begin > 0 && is_word(before[begin - 1])) --begin;
    const absl::string_view word = before.substr(begin);
    return absl::StrCat(file, ":", line_ + 1, ": ", word.empty() ? "syntax" : word, ": ", text_,
                        " (the schema is sluice.v1.Config)");
  }

 private:
  int line_ = -1;
  int column_ = 0;
  std::string text_;
};

// The line (from 1) where the field at `key` begins, or the nearest field around it that is there;
// 1 if none is.
int LineOf(const Tree& root, const std::string& key) {
  const Tree* tree = &root;
  const pb::Descriptor* type = v1::Config::descriptor();
  int line = 0;
  for (absl::string_view part : absl::StrSplit(key, '.')) {
    const std::pair<absl::string_view, absl::string_view> split =
        absl::StrSplit(part, absl::MaxSplits('[', 1));
    const pb::FieldDescriptor* field =
        type == nullptr ? nullptr : type->FindFieldByName(std::string(split.first));
    if (field == nullptr) break;
    int index = -1;
    if (field->is_repeated() && !absl::SimpleAtoi(absl::StripSuffix(split.second, "]"), &index)) {
      index = 0;
    }
    const int here = tree->GetLocation(field, index).line;
    if (here < 0) break;
    line = here;
    if (field->message_type() == nullptr) break;
    tree = tree->GetTreeForNested(field, index);
    type = field->message_type();
    if (tree == nullptr) break;
  }
  return line + 1;
}

// What all doors have: where they listen, and with which rights.
template <typename From, typename To>
Problem ConvertDoor(const std::string& block, const From& from, To& to) {
  for (int i = 0; i < from.listen_size(); ++i) {
    auto address = ParseAddress(from.listen(i));
    if (!address.ok()) {
      return Wrong(absl::StrCat(block, ".listen[", i, "]"),
                   std::string(address.status().message()));
    }
    to.listen.push_back(*std::move(address));
  }
  to.insecure_tcp = from.insecure_tcp();
  if (!from.socket_mode().empty()) {
    const auto mode = ParseSocketMode(from.socket_mode());
    if (!mode.ok()) return Wrong(block + ".socket_mode", std::string(mode.status().message()));
    to.socket_mode = *mode;
  }
  to.socket_owner = from.socket_owner();
  return {};
}

Problem ConvertDoors(const v1::Config& from, Config& to) {
  if (auto p = ConvertDoor("nbd", from.nbd(), to.nbd)) return p;
  if (from.has_nbd() && to.nbd.listen.empty()) to.nbd.listen.push_back(*ParseAddress(kNbdAddress));
  to.nbd.default_export = from.nbd().default_export();
  if (auto p = ConvertDoor("http", from.http(), to.http)) return p;
  if (from.has_http() && to.http.listen.empty()) {
    to.http.listen.push_back(*ParseAddress(kHttpAddress));
  }
  if (!from.has_grpc()) return {};
  if (auto p = ConvertDoor("grpc", from.grpc(), to.grpc)) return p;
  if (to.grpc.listen.empty()) to.grpc.listen.push_back(*ParseAddress(kGrpcAddress));
  if (from.grpc().connections() != 0) to.grpc.connections = from.grpc().connections();
  if (from.grpc().lease_s() != 0) to.grpc.lease_s = from.grpc().lease_s();
  if (from.grpc().connections_per_host() != 0) {
    to.grpc.connections_per_host = from.grpc().connections_per_host();
  }
  if (from.grpc().has_tls()) {
    const v1::Tls& tls = from.grpc().tls();
    to.grpc.tls = {
        tls.cert(), tls.key(), tls.client_ca(), {tls.admin().begin(), tls.admin().end()}};
  }
  return {};
}

void ConvertLimits(const v1::Limits& from, LimitsConfig& to) {
  const auto set = [](auto value, auto& field) {
    if (value != 0) field = value;
  };
  set(from.handshakes(), to.handshakes);
  set(from.connections(), to.connections);
  set(from.handshake_timeout_s(), to.handshake_timeout_s);
  set(from.payload_timeout_s(), to.payload_timeout_s);
  set(from.idle_timeout_s(), to.idle_timeout_s);
  set(from.io_timeout_s(), to.io_timeout_s);
  set(from.drain_timeout_s(), to.drain_timeout_s);
  set(from.requests_per_connection(), to.requests_per_connection);
  set(from.pool_bytes(), to.pool_bytes);
}

Problem Convert(const v1::Config& from, Config& to) {
  if (auto p = ConvertDoors(from, to)) return p;
  to.topology.disks.resize(static_cast<size_t>(from.disk_size()));
  for (int i = 0; i < from.disk_size(); ++i) {
    const std::string key = absl::StrCat("disk[", i, "]");
    if (auto p = FromMessage(key, from.disk(i), to.topology.disks[static_cast<size_t>(i)]))
      return p;
  }
  to.topology.volumes.resize(static_cast<size_t>(from.volume_size()));
  for (int i = 0; i < from.volume_size(); ++i) {
    const std::string key = absl::StrCat("volume[", i, "]");
    if (auto p = FromMessage(key, from.volume(i), to.topology.volumes[static_cast<size_t>(i)]))
      return p;
  }
  to.exports.resize(static_cast<size_t>(from.export__size()));
  for (int i = 0; i < from.export__size(); ++i) {
    FromMessage(from.export_(i), to.exports[static_cast<size_t>(i)]);
  }
  to.disk_roots = {from.disk_roots().begin(), from.disk_roots().end()};
  ConvertLimits(from.limits(), to.limits);
  to.reactors = from.reactors();
  if (from.has_poll_us()) to.poll_us = from.poll_us();
  to.strategy_dir = from.strategy_dir();
  to.state_dir = from.state_dir();
  return {};
}

absl::Status ParseJson(const std::string& file, const std::string& text, v1::Config& message) {
  const auto status = pb::util::JsonStringToMessage(text, &message);
  if (status.ok()) return absl::OkStatus();
  // Syntax errors quote the place over several lines.
  return absl::InvalidArgumentError(absl::StrCat(
      file, ": ", absl::StrReplaceAll(std::string(status.message()), {{"\n", " "}, {"\r", " "}}),
      " (the schema is sluice.v1.Config)"));
}

}  // namespace

std::optional<ConfigProblem> FromMessage(const std::string& key, const v1::Disk& from,
                                         DiskSpec& to) {
  to.name = from.name();
  switch (from.backing_case()) {
    case v1::Disk::kPath:
      to.kind = DiskSpec::Kind::kPath;
      to.path = from.path();
      to.size_bytes = from.create_bytes();
      break;
    case v1::Disk::kMemoryBytes:
      to.kind = DiskSpec::Kind::kMemory;
      to.size_bytes = from.memory_bytes();
      break;
    case v1::Disk::kNullBytes:
      to.kind = DiskSpec::Kind::kNull;
      to.size_bytes = from.null_bytes();
      break;
    case v1::Disk::BACKING_NOT_SET:
      return Wrong(key, "has no backing: give path, memory_bytes or null_bytes");
  }
  if (from.create_bytes() != 0 && to.kind != DiskSpec::Kind::kPath) {
    return Wrong(key + ".create_bytes", "goes with path only: remove it");
  }
  to.bufq = from.bufq();
  to.depth = from.depth();
  to.cylinder_bytes = from.cylinder_bytes();
  to.block_size = from.block_size_bytes();
  to.io_timeout_s = from.io_timeout_s();
  to.buffered = from.buffered();
  to.read_only = from.read_only();
  to.gather = !from.has_gather() || from.gather();
  return {};
}

std::optional<ConfigProblem> FromMessage(const std::string& key, const v1::Volume& from,
                                         VolumeSpec& to) {
  to.name = from.name();
  switch (from.layout_case()) {
    case v1::Volume::kSlice:
      to.kind = VolumeSpec::Kind::kSlice;
      to.legs = {from.slice().of()};
      to.offset_bytes = from.slice().offset_bytes();
      to.size_bytes = from.slice().size_bytes();
      return {};
    case v1::Volume::kConcat:
      to.kind = VolumeSpec::Kind::kConcat;
      to.legs = {from.concat().leg().begin(), from.concat().leg().end()};
      to.leg_bytes = {from.concat().leg_bytes().begin(), from.concat().leg_bytes().end()};
      return {};
    case v1::Volume::kStripe:
      to.kind = VolumeSpec::Kind::kStripe;
      to.legs = {from.stripe().leg().begin(), from.stripe().leg().end()};
      to.chunk_bytes = from.stripe().chunk_bytes();
      return {};
    case v1::Volume::kMirror:
      return Wrong(key + ".mirror", "comes with a later release: use concat, stripe or slice");
    case v1::Volume::LAYOUT_NOT_SET:
      break;
  }
  return Wrong(key, "has no layout: give slice, concat or stripe");
}

void FromMessage(const v1::Export& from, ExportConfig& to) {
  to.name = from.name();
  to.volume = from.volume();
  to.description = from.description();
  to.read_only = from.read_only();
  if (from.has_priority()) to.priority = from.priority();
  if (from.weight() != 0) to.weight = from.weight();
  to.nbd_excluded = from.exclusive() != v1::EXCLUSIVE_SESSIONS;
  to.allow = {from.allow().begin(), from.allow().end()};
}

void ToMessage(const DiskSpec& from, v1::Disk& to) {
  to.set_name(from.name);
  switch (from.kind) {
    case DiskSpec::Kind::kPath:
      to.set_path(from.path);
      to.set_create_bytes(from.size_bytes);
      break;
    case DiskSpec::Kind::kMemory:
      to.set_memory_bytes(from.size_bytes);
      break;
    case DiskSpec::Kind::kNull:
      to.set_null_bytes(from.size_bytes);
      break;
  }
  to.set_bufq(from.bufq);
  to.set_depth(from.depth);
  to.set_buffered(from.buffered);
  to.set_read_only(from.read_only);
  to.set_block_size_bytes(from.block_size);
  to.set_gather(from.gather);
  to.set_io_timeout_s(from.io_timeout_s);
  to.set_cylinder_bytes(from.cylinder_bytes);
}

void ToMessage(const VolumeSpec& from, v1::Volume& to) {
  to.set_name(from.name);
  switch (from.kind) {
    case VolumeSpec::Kind::kSlice:
      to.mutable_slice()->set_of(from.legs.empty() ? "" : from.legs[0]);
      to.mutable_slice()->set_offset_bytes(from.offset_bytes);
      to.mutable_slice()->set_size_bytes(from.size_bytes);
      break;
    case VolumeSpec::Kind::kConcat:
      to.mutable_concat()->mutable_leg()->Assign(from.legs.begin(), from.legs.end());
      to.mutable_concat()->mutable_leg_bytes()->Assign(from.leg_bytes.begin(),
                                                       from.leg_bytes.end());
      break;
    case VolumeSpec::Kind::kStripe:
      to.mutable_stripe()->mutable_leg()->Assign(from.legs.begin(), from.legs.end());
      to.mutable_stripe()->set_chunk_bytes(from.chunk_bytes);
      break;
  }
}

void ToMessage(const ExportConfig& from, v1::Export& to) {
  to.set_name(from.name);
  to.set_volume(from.volume);
  to.set_description(from.description);
  to.set_read_only(from.read_only);
  to.set_priority(from.priority);
  to.set_weight(from.weight);
  to.set_exclusive(from.nbd_excluded ? v1::EXCLUSIVE_EVERYBODY : v1::EXCLUSIVE_SESSIONS);
  to.mutable_allow()->Assign(from.allow.begin(), from.allow.end());
}

absl::StatusOr<mode_t> ParseSocketMode(absl::string_view text) {
  mode_t mode = 0;
  for (const char c : text) {
    if (c < '0' || c > '7' || mode > 0777) mode = 01000;
    mode = mode * 8 + static_cast<mode_t>(c - '0');
  }
  if (text.empty() || mode > 0777 || (mode & 0600) != 0600) {
    return absl::InvalidArgumentError(
        absl::StrCat(Quote(text), " are no permissions: give octal 0600 to 0777"));
  }
  return mode;
}

std::string RenderParts(const Config& config) {
  v1::Config message;
  for (const DiskSpec& disk : config.topology.disks) ToMessage(disk, *message.add_disk());
  for (const VolumeSpec& volume : config.topology.volumes) ToMessage(volume, *message.add_volume());
  for (const ExportConfig& each : config.exports) ToMessage(each, *message.add_export_());
  std::string text;
  SLUICE_CHECK(pb::TextFormat::PrintToString(message, &text));
  return text;
}

absl::StatusOr<Config> ParseParts(const std::string& file, const std::string& text) {
  v1::Config message;
  FirstError error;
  pb::TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  parser.SetRecursionLimit(kMaxNesting);
  if (!parser.ParseFromString(text, &message)) {
    return absl::InvalidArgumentError(error.Describe(file, text));
  }
  Config config;
  if (auto problem = Convert(message, config)) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": ", problem->key, ": ", problem->text));
  }
  return config;
}

absl::StatusOr<Config> ParseConfig(const std::string& file, const std::string& text) {
  if (text.size() > kMaxFile) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": is larger than 1 MiB: no config is"));
  }
  const absl::string_view body = absl::StripLeadingAsciiWhitespace(text);
  const bool json = absl::StartsWith(body, "{");
  v1::Config message;
  Tree tree;
  if (json) {
    if (auto status = ParseJson(file, text, message); !status.ok()) return status;
  } else {
    FirstError error;
    pb::TextFormat::Parser parser;
    parser.RecordErrorsTo(&error);
    parser.WriteLocationsTo(&tree);
    parser.SetRecursionLimit(kMaxNesting);
    if (!parser.ParseFromString(text, &message)) {
      return absl::InvalidArgumentError(error.Describe(file, text));
    }
  }
  Config config;
  Problem problem = Convert(message, config);
  if (!problem) problem = CompleteAndCheck(config);
  if (!problem) return config;
  const std::string line = json ? "" : absl::StrCat(":", LineOf(tree, problem->key));
  return absl::InvalidArgumentError(
      absl::StrCat(file, line, ": ", problem->key, ": ", problem->text));
}

absl::StatusOr<Config> LoadConfig(const std::string& file) {
  errno = 0;
  std::ifstream in(file, std::ios::binary);
  std::string text(kMaxFile + 1, '\0');
  if (in) in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!in.is_open() || in.bad() || (in.gcount() == 0 && errno != 0)) {
    const int error = errno == 0 ? EIO : errno;
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": cannot be read: ", std::strerror(error), "; name a readable file"));
  }
  text.resize(static_cast<size_t>(in.gcount()));
  return ParseConfig(file, text);
}

}  // namespace sluice
