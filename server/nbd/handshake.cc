// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/handshake.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include "server/text.h"

namespace sluice::nbd {
namespace {

constexpr uint16_t kHandshakeFlags = kFixedNewstyle | kNoZeroes;

bool TakesData(Option option) {
  switch (option) {
    case Option::kExportName:
    case Option::kInfo:
    case Option::kGo:
    case Option::kListMetaContext:
    case Option::kSetMetaContext:
      return true;
    default:
      return false;
  }
}

// A LIST query may end at the colon of a namespace, a SET query must name its context.
bool SelectsAllocation(std::string_view query, bool listing) {
  return query == kBaseAllocation || (listing && query == "base:");
}

size_t ServerReplyBytes(const ExportInfo& info, bool described) {
  return kOptionReplyHeaderBytes + 4 + info.name.size() + (described ? info.description.size() : 0);
}

}  // namespace

uint16_t TransmissionFlags(const ExportInfo& info, bool structured_replies) {
  uint16_t flags = kHasFlags | kSendFlush | kSendFua | kSendCache;
  const auto add = [&flags](bool when, uint16_t flag) {
    if (when) flags = static_cast<uint16_t>(flags | flag);
  };
  add(info.read_only, kReadOnly);
  add(info.rotational, kRotational);
  add(info.can_trim && !info.read_only, kSendTrim);
  add(info.can_zero && !info.read_only, kSendWriteZeroes);
  add(info.can_zero && info.fast_zero && !info.read_only, kSendFastZero);
  add(info.multi_conn, kCanMultiConn);
  add(structured_replies, kSendDf);
  return flags;
}

Handshake::Handshake(const ExportDirectory& exports, const Limits& limits)
    : exports_(exports), limits_(limits) {
  const auto greeting = EncodeGreeting(kHandshakeFlags);
  output_.assign(greeting.begin(), greeting.end());
}

void Handshake::Receive(ConstByteSpan bytes) {
  if (state_ == State::kClosing) return;
  input_.erase(input_.begin(), input_.begin() + static_cast<ptrdiff_t>(consumed_));
  consumed_ = 0;
  input_.insert(input_.end(), bytes.begin(), bytes.end());
  while (Step()) {
  }
}

bool Handshake::wants_receive() const {
  return state_ == State::kTalking && output().size() <= limits_.unsent_bytes;
}

void Handshake::Sent(size_t bytes) {
  sent_ += std::min(bytes, output().size());
  if (sent_ < output_.size()) return;
  output_.clear();
  sent_ = 0;
  while (Step()) {
  }
}

bool Handshake::Step() {
  if (!wants_receive()) return false;
  switch (expect_) {
    case Expect::kClientFlags:
      return TakeClientFlags();
    case Expect::kHeader:
      return TakeHeader();
    case Expect::kSkip:
      return SkipData();
    case Expect::kData:
      break;
  }
  if (input().size() < option_.length) return false;
  const ConstByteSpan data = input().first(option_.length);
  consumed_ += option_.length;
  expect_ = Expect::kHeader;
  Answer(data);
  return true;
}

bool Handshake::TakeClientFlags() {
  if (input().size() < kClientFlagsBytes) return false;
  const uint32_t flags = *DecodeClientFlags(input().first(kClientFlagsBytes));
  consumed_ += kClientFlagsBytes;
  if ((flags & ~uint32_t{kHandshakeFlags}) != 0) {
    Close("client flags that were not offered: " + std::to_string(flags));
    return false;
  }
  fixed_newstyle_ = (flags & kFixedNewstyle) != 0;
  no_zeroes_ = (flags & kNoZeroes) != 0;
  expect_ = Expect::kHeader;
  return true;
}

bool Handshake::TakeHeader() {
  if (input().size() < kOptionHeaderBytes) return false;
  const auto header = DecodeOptionHeader(input().first(kOptionHeaderBytes));
  consumed_ += kOptionHeaderBytes;
  if (!header) {
    Close("option without its magic number");
    return false;
  }
  option_ = *header;
  if (++option_count_ > limits_.options) {
    Close("more than " + std::to_string(limits_.options) + " options");
  } else if (!fixed_newstyle_ && option_.option != Option::kExportName) {
    Close("option other than EXPORT_NAME from a client that is not fixed newstyle");
  } else if (option_.length > kMaxOptionBytes) {
    Close("option of " + std::to_string(option_.length) + " bytes");
  } else if (option_.option == Option::kExportName && option_.length > kMaxTextBytes) {
    Close("EXPORT_NAME with a name of " + std::to_string(option_.length) + " bytes");
  }
  if (state_ == State::kClosing) return false;
  skip_left_ = option_.length;
  expect_ = TakesData(option_.option) ? Expect::kData : Expect::kSkip;
  return true;
}

bool Handshake::SkipData() {
  const size_t skipped = std::min<size_t>(skip_left_, input().size());
  consumed_ += skipped;
  skip_left_ -= static_cast<uint32_t>(skipped);
  if (skip_left_ > 0) return false;
  expect_ = Expect::kHeader;
  Answer({});
  return true;
}

void Handshake::Answer(ConstByteSpan data) {
  if (draining_ && option_.option != Option::kAbort) {
    if (option_.option != Option::kExportName) {
      ReplyError(OptionReply::kErrShutdown, "the server is shutting down");
    }
    return Close("the server is shutting down");
  }
  switch (option_.option) {
    case Option::kExportName:
      return AnswerExportName(data);
    case Option::kInfo:
    case Option::kGo:
      return AnswerInfoOrGo(data);
    case Option::kListMetaContext:
    case Option::kSetMetaContext:
      return AnswerMeta(data);
    default:
      return AnswerWithoutData();
  }
}

void Handshake::AnswerWithoutData() {
  switch (option_.option) {
    case Option::kAbort:
      return AnswerAbort();
    case Option::kList:
      return AnswerList();
    case Option::kStructuredReply:
      return AnswerStructuredReply();
    case Option::kStartTls:
      return ReplyError(OptionReply::kErrPolicy, "this server does not offer TLS");
    case Option::kPeekExport:
      return ReplyError(OptionReply::kErrUnsup, "PEEK_EXPORT is not supported");
    case Option::kExtendedHeaders:
      return ReplyError(OptionReply::kErrUnsup, "EXTENDED_HEADERS is not supported");
    default:
      return ReplyError(
          OptionReply::kErrUnsup,
          "option " + std::to_string(static_cast<uint32_t>(option_.option)) + " is not supported");
  }
}

void Handshake::AnswerExportName(ConstByteSpan data) {
  const std::string_view name(reinterpret_cast<const char*>(data.data()), data.size());
  auto exported = IsText(name) ? exports_.Find(name) : nullptr;
  if (!exported) return Close("EXPORT_NAME of unknown export " + Quote({name.data(), name.size()}));
  requested_name_ = name;
  requested_infos_.clear();
  Admit(std::move(exported));
}

void Handshake::AnswerAbort() {
  Reply(OptionReply::kAck);
  Close("the client aborted the handshake");
}

void Handshake::AnswerList() {
  if (option_.length != 0) return ReplyError(OptionReply::kErrInvalid, "LIST takes no data");
  const auto exports = exports_.List();
  const auto reply_bytes = [&exports](bool described) {
    size_t bytes = 0;
    for (const auto& info : exports) bytes += ServerReplyBytes(*info, described);
    return bytes;
  };
  const bool described = reply_bytes(true) <= limits_.list_reply_bytes;
  if (!described && reply_bytes(false) > limits_.list_reply_bytes) {
    return ReplyError(OptionReply::kErrTooBig,
                      std::to_string(exports.size()) + " exports are too many to list");
  }
  std::vector<uint8_t> data;
  for (const auto& info : exports) {
    const std::string_view description = described ? std::string_view(info->description) : "";
    data.resize(4 + info->name.size() + description.size());
    if (EncodeServerEntry({info->name, description}, data) > 0) Reply(OptionReply::kServer, data);
  }
  Reply(OptionReply::kAck);
}

void Handshake::AnswerStructuredReply() {
  if (option_.length != 0) {
    return ReplyError(OptionReply::kErrInvalid, "STRUCTURED_REPLY takes no data");
  }
  if (structured_replies_) {
    return ReplyError(OptionReply::kErrInvalid, "structured replies are already negotiated");
  }
  structured_replies_ = true;
  Reply(OptionReply::kAck);
}

void Handshake::AnswerInfoOrGo(ConstByteSpan data) {
  const auto query = DecodeExportQuery(data);
  if (!query) {
    return ReplyError(OptionReply::kErrInvalid, "malformed export name or list of infos");
  }
  auto exported = exports_.Find(query->name);
  if (!exported) return ReplyUnknown(query->name);
  requested_name_ = query->name;
  requested_infos_.clear();
  for (const Info info : {Info::kName, Info::kDescription, Info::kBlockSize}) {
    for (size_t i = 0; i < query->info_count(); ++i) {
      if (query->info(i) != info) continue;
      requested_infos_.push_back(info);
      break;
    }
  }
  if (option_.option == Option::kGo) return Admit(std::move(exported));
  requested_ = std::move(exported);
  ReplyInfos();
  requested_.reset();
}

void Handshake::AnswerMeta(ConstByteSpan data) {
  const bool listing = option_.option == Option::kListMetaContext;
  if (!listing) allocation_selected_ = false;  // even if this one fails
  if (!structured_replies_) {
    return ReplyError(OptionReply::kErrInvalid, "meta contexts need structured replies");
  }
  const auto query = DecodeMetaQuery(data);
  if (!query) return ReplyError(OptionReply::kErrInvalid, "malformed meta context query");
  if (!exports_.Find(query->name)) return ReplyUnknown(query->name);
  ReplyMeta(*query);
}

void Handshake::ReplyMeta(const MetaQuery& query) {
  const bool listing = option_.option == Option::kListMetaContext;
  bool selected = listing && query.count == 0;
  ConstByteSpan rest = query.queries;
  while (const auto text = NextMetaQuery(rest)) {
    selected = selected || SelectsAllocation(*text, listing);
  }
  if (selected) {
    std::array<uint8_t, 4 + kBaseAllocation.size()> context;
    EncodeMetaContext({listing ? 0 : kAllocationContextId, kBaseAllocation}, context);
    Reply(OptionReply::kMetaContext, context);
  }
  if (!listing) {
    allocation_selected_ = selected;
    meta_export_name_ = query.name;
  }
  Reply(OptionReply::kAck);
}

void Handshake::ReplyInfos() {
  const ExportInfo& info = *requested_;
  const auto reply_text = [this](Info kind, std::string_view text) {
    std::vector<uint8_t> data(2 + text.size());
    if (EncodeInfoText({kind, text}, data) > 0) Reply(OptionReply::kInfo, data);
  };
  Reply(OptionReply::kInfo,
        EncodeInfoExport({info.size_bytes, TransmissionFlags(info, structured_replies_)}));
  if (Wanted(Info::kName)) reply_text(Info::kName, info.name);
  if (Wanted(Info::kDescription) && !info.description.empty()) {
    reply_text(Info::kDescription, info.description);
  }
  if (Wanted(Info::kBlockSize)) {
    Reply(OptionReply::kInfo, EncodeInfoBlockSize({info.min_block_bytes, info.preferred_block_bytes,
                                                   kAdvertisedPayloadBytes}));
  }
  Reply(OptionReply::kAck);
}

bool Handshake::Wanted(Info info) const {
  return std::find(requested_infos_.begin(), requested_infos_.end(), info) !=
         requested_infos_.end();
}

void Handshake::Admit(std::shared_ptr<const ExportInfo> exported) {
  requested_ = std::move(exported);
  state_ = State::kAdmitting;
}

void Handshake::Admitted() {
  if (state_ != State::kAdmitting) std::abort();
  if (draining_) return Refused(OptionReply::kErrShutdown, "the server is shutting down");
  if (option_.option == Option::kGo) {
    ReplyInfos();
  } else {
    const auto reply = EncodeExportNameReply(
        {requested_->size_bytes, TransmissionFlags(*requested_, structured_replies_)});
    output_.insert(output_.end(), reply.begin(), reply.end());
    if (!no_zeroes_) output_.insert(output_.end(), kExportNameZeroBytes, 0);
  }
  state_ = State::kDone;
}

void Handshake::Refused(OptionReply code, std::string_view text) {
  if (state_ != State::kAdmitting) std::abort();
  requested_.reset();
  state_ = State::kTalking;
  if (option_.option == Option::kExportName) {
    return Close("EXPORT_NAME refused: " + std::string(text));
  }
  ReplyError(code, text);
  if (code == OptionReply::kErrShutdown) return Close("the server is shutting down");
  while (Step()) {
  }
}

Negotiated Handshake::TakeResult() {
  if (state_ != State::kDone) std::abort();
  Negotiated result;
  result.exported = std::move(requested_);
  result.structured_replies = structured_replies_;
  result.block_sizes = Wanted(Info::kBlockSize);
  if (allocation_selected_ && meta_export_name_ == requested_name_) {
    result.allocation_context = kAllocationContextId;
  }
  result.unparsed.assign(input().begin(), input().end());
  return result;
}

void Handshake::Reply(OptionReply type, ConstByteSpan data) {
  const auto header =
      EncodeOptionReplyHeader({option_.option, type, static_cast<uint32_t>(data.size())});
  output_.insert(output_.end(), header.begin(), header.end());
  output_.insert(output_.end(), data.begin(), data.end());
}

void Handshake::ReplyError(OptionReply type, std::string_view text) {
  text = text.substr(0, kMaxTextBytes);
  Reply(type, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

void Handshake::ReplyUnknown(std::string_view name) {
  ReplyError(OptionReply::kErrUnknown,
             name.empty() ? "there is no default export"
                          : "no export is named " + Quote({name.data(), name.size()}));
}

void Handshake::Close(std::string reason) {
  state_ = State::kClosing;
  reason_ = std::move(reason);
  input_.clear();
  consumed_ = 0;
}

}  // namespace sluice::nbd
