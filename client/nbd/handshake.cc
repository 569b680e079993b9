// SPDX-License-Identifier: Apache-2.0
#include "client/nbd/handshake.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <string_view>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/units.h"

namespace sluice {
namespace {

// Infos, texts and replies to options we know are far smaller; more is no NBD server.
constexpr uint32_t kMaxOptionReplyBytes = 64 << 10;
constexpr int kMaxOptionReplies = 64;

// A server lists its exports one reply each.
constexpr int kMaxExports = 10000;

absl::Status ReceiveAll(int fd, ByteSpan room) {
  while (!room.empty()) {
    const ssize_t got = recv(fd, room.data(), room.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return ConnectionLost(got == 0 ? 0 : errno == EAGAIN ? ETIMEDOUT : errno);
    room = room.subspan(static_cast<size_t>(got));
  }
  return absl::OkStatus();
}

absl::Status NotNbd(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("the server does not speak NBD as agreed: ", what));
}

std::string PrintableText(ConstByteSpan bytes) {
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  return absl::CHexEscape(absl::string_view(text, bytes.size()).substr(0, 300));
}

}  // namespace

absl::Status SendAll(int fd, ConstByteSpan bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return ConnectionLost(errno == EAGAIN ? ETIMEDOUT : errno);
    bytes = bytes.subspan(static_cast<size_t>(sent));
  }
  return absl::OkStatus();
}

absl::Status NbdHandshake::Greet() {
  uint8_t bytes[nbd::kGreetingBytes];
  if (absl::Status status = ReceiveAll(connection_.fd_, bytes); !status.ok()) return status;
  const auto flags = nbd::DecodeGreeting(bytes);
  if (!flags) return NotNbd("no newstyle greeting");
  if ((*flags & nbd::kFixedNewstyle) == 0) return NotNbd("no fixed newstyle, it is too old");
  return SendAll(connection_.fd_,
                 nbd::EncodeClientFlags(*flags & (nbd::kFixedNewstyle | nbd::kNoZeroes)));
}

absl::Status NbdHandshake::SendOption(nbd::Option option, ConstByteSpan data) {
  option_ = option;
  const auto header =
      nbd::EncodeOptionHeader({.option = option, .length = static_cast<uint32_t>(data.size())});
  if (absl::Status status = SendAll(connection_.fd_, header); !status.ok()) return status;
  return SendAll(connection_.fd_, data);
}

absl::StatusOr<NbdHandshake::Answer> NbdHandshake::NextAnswer() {
  uint8_t bytes[nbd::kOptionReplyHeaderBytes];
  if (absl::Status status = ReceiveAll(connection_.fd_, bytes); !status.ok()) return status;
  const auto header = nbd::DecodeOptionReplyHeader(bytes);
  if (!header || header->option != option_) return NotNbd("no reply to the option that was sent");
  if (header->length > kMaxOptionReplyBytes) return NotNbd("an option's reply is too long");
  Answer answer{header->type, std::vector<uint8_t>(header->length)};
  if (absl::Status status = ReceiveAll(connection_.fd_, answer.data); !status.ok()) return status;
  return answer;
}

absl::Status NbdHandshake::AskForStructured(bool demanded) {
  if (absl::Status s = SendOption(nbd::Option::kStructuredReply, {}); !s.ok()) return s;
  const auto answer = NextAnswer();
  if (!answer.ok()) return answer.status();
  connection_.structured_ = answer->type == nbd::OptionReply::kAck;
  if (connection_.structured_ || !demanded) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "the server has no structured replies: leave --structured away");
}

absl::Status NbdHandshake::AskForExtents(const std::string& name) {
  std::vector<uint8_t> query(name.size() + 64);
  constexpr std::string_view kQueries[] = {nbd::kBaseAllocation};
  query.resize(nbd::EncodeMetaQuery(name, kQueries, query));
  if (absl::Status s = SendOption(nbd::Option::kSetMetaContext, query); !s.ok()) return s;
  for (int replies = 0; replies < kMaxOptionReplies; ++replies) {
    const auto answer = NextAnswer();
    if (!answer.ok()) return answer.status();
    // Whatever is wrong with the export GO will tell; a server may just not know contexts.
    if (answer->type == nbd::OptionReply::kAck || IsError(answer->type)) return absl::OkStatus();
    if (answer->type != nbd::OptionReply::kMetaContext) return NotNbd("a strange reply");
    const auto context = nbd::DecodeMetaContext(answer->data);
    if (!context || context->name != nbd::kBaseAllocation) {
      return NotNbd("a context nobody asked for");
    }
    connection_.extents_context_ = context->id;
  }
  return NotNbd("SET_META_CONTEXT is answered without end");
}

absl::Status NbdHandshake::Go(const std::string& name, const NbdWishes& wishes) {
  if (wishes.structured || wishes.extents) {
    if (absl::Status s = AskForStructured(wishes.structured); !s.ok()) return s;
  }
  if (wishes.extents && connection_.structured_) {
    if (absl::Status s = AskForExtents(name); !s.ok()) return s;
  }
  return Query(nbd::Option::kGo, name);
}

absl::Status NbdHandshake::Query(nbd::Option option, const std::string& name) {
  connection_.block_size_ = {};
  std::vector<uint8_t> query(name.size() + 16);
  constexpr nbd::Info kInfos[] = {nbd::Info::kBlockSize};
  query.resize(nbd::EncodeExportQuery(name, kInfos, query));
  if (absl::Status s = SendOption(option, query); !s.ok()) return s;
  bool told = false;
  for (int replies = 0; replies < kMaxOptionReplies; ++replies) {
    const auto answer = NextAnswer();
    if (!answer.ok()) return answer.status();
    if (IsError(answer->type)) return Refused(name, *answer);
    if (answer->type == nbd::OptionReply::kAck) {
      return told ? absl::OkStatus() : NotNbd("GO without the export's size");
    }
    if (answer->type != nbd::OptionReply::kInfo) return NotNbd("a strange reply to GO");
    if (absl::Status s = TakeInfo(answer->data, told); !s.ok()) return s;
  }
  return NotNbd("GO is answered without end");
}

absl::Status NbdHandshake::TakeInfo(ConstByteSpan data, bool& told) {
  const auto kind = nbd::DecodeInfoKind(data);
  if (kind == nbd::Info::kExport) {
    const auto info = nbd::DecodeInfoExport(data);
    if (!info) return NotNbd("malformed export info");
    connection_.export_ = *info;
    told = true;
  } else if (kind == nbd::Info::kBlockSize) {
    const auto info = nbd::DecodeInfoBlockSize(data);
    if (!info || !IsPowerOfTwo(info->min)) return NotNbd("malformed block sizes");
    connection_.block_size_ = *info;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<NbdExport>> NbdHandshake::List() {
  if (absl::Status s = SendOption(nbd::Option::kList, {}); !s.ok()) return s;
  std::vector<NbdExport> exports;
  for (;;) {
    const auto answer = NextAnswer();
    if (!answer.ok()) return answer.status();
    if (answer->type == nbd::OptionReply::kAck) break;
    if (answer->type == nbd::OptionReply::kErrPolicy) {
      return absl::PermissionDeniedError(
          "the server does not list its exports: ask its operator for a name");
    }
    if (answer->type != nbd::OptionReply::kServer) {
      return absl::FailedPreconditionError("the server cannot list its exports");
    }
    const auto entry = nbd::DecodeServerEntry(answer->data);
    if (!entry || exports.size() == kMaxExports) return NotNbd("a malformed list of exports");
    NbdExport& found = exports.emplace_back();
    found.name = std::string(entry->name);
    found.description = std::string(entry->description);
  }
  for (NbdExport& found : exports) {
    const absl::Status status = Query(nbd::Option::kInfo, found.name);
    if (status.code() == absl::StatusCode::kDataLoss || absl::IsUnavailable(status)) return status;
    if (!status.ok()) continue;  // listed and yet refused: the name alone is told
    Tell(found);
  }
  if (absl::Status bye = Abort(); !bye.ok()) return bye;
  return exports;
}

absl::StatusOr<NbdExport> NbdHandshake::Info(const std::string& name) {
  if (absl::Status s = Query(nbd::Option::kInfo, name); !s.ok()) return s;
  if (absl::Status bye = Abort(); !bye.ok()) return bye;
  NbdExport found;
  found.name = name;
  Tell(found);
  return found;
}

void NbdHandshake::Tell(NbdExport& found) const {
  found.size_bytes = connection_.export_.size;
  found.flags = connection_.export_.flags;
  found.block_size = connection_.block_size_;
}

// A server that is gone already need not be told.
absl::Status NbdHandshake::Abort() {
  absl::Status bye = SendOption(nbd::Option::kAbort, {});
  return absl::IsUnavailable(bye) ? absl::OkStatus() : bye;
}

absl::Status NbdHandshake::Refused(const std::string& name, const Answer& answer) {
  const std::string export_name = absl::StrCat("the export \"", absl::CHexEscape(name), "\"");
  std::string why;
  if (!answer.data.empty()) why = absl::StrCat("; it says: ", PrintableText(answer.data));
  switch (answer.type) {
    case nbd::OptionReply::kErrUnknown:
      return absl::NotFoundError(absl::StrCat("the server has no ", export_name.substr(4), why));
    case nbd::OptionReply::kErrTlsReqd:
      return absl::FailedPreconditionError(
          absl::StrCat(export_name, " wants TLS, which is not supported yet", why));
    case nbd::OptionReply::kErrUnsup:
      return absl::FailedPreconditionError("the server is too old: it does not know GO");
    case nbd::OptionReply::kErrShutdown:
      return absl::UnavailableError(absl::StrCat("the server is shutting down", why));
    default:
      return absl::FailedPreconditionError(absl::StrCat("the server refuses ", export_name, why));
  }
}

}  // namespace sluice
