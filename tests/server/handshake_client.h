// SPDX-License-Identifier: Apache-2.0
// A scripted client of the handshake: builds options, reads replies, talks to a Handshake byte for
// byte. And a directory of exports to talk about.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proto/nbd_handshake.h"
#include "server/export.h"
#include "server/nbd/handshake.h"

namespace sluice::nbd {

using Bytes = std::vector<uint8_t>;

inline Bytes BytesOf(std::string_view text) { return Bytes(text.begin(), text.end()); }

inline void Append(Bytes& to, ConstByteSpan more) { to.insert(to.end(), more.begin(), more.end()); }

class FakeExports final : public ExportDirectory {
 public:
  ExportInfo& Add(std::string name, uint64_t size) {
    auto info = std::make_shared<ExportInfo>();
    info->name = std::move(name);
    info->size_bytes = size;
    all.push_back(info);
    return *info;
  }

  std::shared_ptr<const ExportInfo> Find(std::string_view name) const override {
    if (name.empty()) return default_export;
    for (const auto& info : all) {
      if (info->name == name) return info;
    }
    return nullptr;
  }
  std::vector<std::shared_ptr<const ExportInfo>> List() const override {
    return {all.begin(), all.end()};
  }

  std::vector<std::shared_ptr<ExportInfo>> all;
  std::shared_ptr<const ExportInfo> default_export;
};

// One reply to an option.
struct OptionAnswer {
  Option option = {};
  OptionReply type = {};
  Bytes data;
  std::string text() const { return std::string(data.begin(), data.end()); }
  bool operator==(const OptionAnswer&) const = default;
};

inline Bytes OptionBytes(Option option, ConstByteSpan data = {}) {
  Bytes bytes;
  Append(bytes, EncodeOptionHeader({option, static_cast<uint32_t>(data.size())}));
  Append(bytes, data);
  return bytes;
}

inline Bytes ExportQueryBytes(std::string_view name, const std::vector<Info>& infos = {}) {
  Bytes data(6 + name.size() + 2 * infos.size());
  EXPECT_EQ(EncodeExportQuery(name, infos, data), data.size());
  return data;
}

inline Bytes MetaQueryBytes(std::string_view name, const std::vector<std::string_view>& queries) {
  Bytes data(65536);
  data.resize(EncodeMetaQuery(name, queries, data));
  return data;
}

inline Bytes ClientFlags(uint32_t flags = kFixedNewstyle | kNoZeroes) {
  const auto bytes = EncodeClientFlags(flags);
  return Bytes(bytes.begin(), bytes.end());
}

// Splits what a server sent into answers; whatever is behind the last whole one goes to `rest`.
inline std::vector<OptionAnswer> ParseAnswers(ConstByteSpan bytes, Bytes* rest = nullptr) {
  std::vector<OptionAnswer> answers;
  while (bytes.size() >= kOptionReplyHeaderBytes) {
    const auto header = DecodeOptionReplyHeader(bytes.first(kOptionReplyHeaderBytes));
    if (!header || bytes.size() - kOptionReplyHeaderBytes < header->length) break;
    const ConstByteSpan data = bytes.subspan(kOptionReplyHeaderBytes, header->length);
    answers.push_back({header->option, header->type, Bytes(data.begin(), data.end())});
    bytes = bytes.subspan(kOptionReplyHeaderBytes + header->length);
  }
  if (rest != nullptr) rest->assign(bytes.begin(), bytes.end());
  return answers;
}

// Takes all output of a handshake.
inline Bytes TakeOutput(Handshake& handshake) {
  Bytes taken;
  while (!handshake.output().empty()) {
    const ConstByteSpan some = handshake.output();
    Append(taken, some);
    handshake.Sent(some.size());
  }
  return taken;
}

}  // namespace sluice::nbd
