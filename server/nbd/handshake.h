// SPDX-License-Identifier: Apache-2.0
// The server's side of the NBD fixed newstyle handshake, as a state machine without I/O: bytes in,
// bytes out, and a state the connection reads after each call. Used by one thread at a time.
//
// Every option gets an answer; a refusal carries a text for humans. The machine closes only where
// the protocol leaves no other way (EXPORT_NAME has no error reply, framing is lost) or a limit is
// passed; reason() then says why. It does not keep time: the deadline is the connection's.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/nbd_handshake.h"
#include "server/export.h"

namespace sluice::nbd {

// The flags word of an export. SEND_DF is only meant with structured replies.
uint16_t TransmissionFlags(const ExportInfo& info, bool structured_replies);

// Payload limits: told to clients, and taken from them all the same.
inline constexpr uint32_t kAdvertisedPayloadBytes = 32u << 20;
inline constexpr uint32_t kAcceptedPayloadBytes = 64u << 20;

// The id of base:allocation, on every connection that selects it.
inline constexpr uint32_t kAllocationContextId = 1;

// What a finished handshake hands to the transmission phase.
struct Negotiated {
  std::shared_ptr<const ExportInfo> exported;
  bool structured_replies = false;
  bool block_sizes = false;  // the client asked for the sizes, so it must obey them
  std::optional<uint32_t> allocation_context;  // id of base:allocation, when it was selected
  std::vector<uint8_t> unparsed;               // bytes received behind the handshake
};

class Handshake {
 public:
  struct Limits {
    uint32_t options = 512;                // in one handshake
    uint32_t list_reply_bytes = 1u << 20;  // a longer answer to LIST is ERR_TOO_BIG
    uint32_t unsent_bytes = 64u << 10;     // no option is parsed while more than this waits
  };

  // Data of one option: 64 KiB and the longest META query of 16 contexts. Longer ones close.
  static constexpr uint32_t kMaxOptionBytes =
      (64u << 10) + (4 + kMaxTextBytes) + 4 + 16 * (4 + kMaxTextBytes);

  enum class State {
    kTalking,    // wants bytes
    kAdmitting,  // GO or EXPORT_NAME of requested(): call Admitted() or Refused()
    kDone,       // send output(), then TakeResult()
    kClosing,    // send output(), then close
  };

  // `exports` outlives the handshake. The greeting is in output() at once.
  explicit Handshake(const ExportDirectory& exports) : Handshake(exports, Limits()) {}
  Handshake(const ExportDirectory& exports, const Limits& limits);

  // Bytes of the peer, cut anywhere. What comes while not kTalking is kept for later.
  void Receive(ConstByteSpan bytes);
  // False: leave further bytes in the socket until a call has changed it.
  bool wants_receive() const;

  // What to send next; Sent() takes bytes off its front.
  ConstByteSpan output() const { return ConstByteSpan(output_).subspan(sent_); }
  void Sent(size_t bytes);

  State state() const { return state_; }
  const std::shared_ptr<const ExportInfo>& requested() const { return requested_; }

  // REQUIRES for both: kAdmitting. `code` is an error; `text` is for humans and our own words.
  void Admitted();
  void Refused(OptionReply code, std::string_view text);

  // From now on every option but ABORT is refused with ERR_SHUTDOWN, and the first such refusal
  // closes. An admission under way is refused when it ends.
  void Drain() { draining_ = true; }

  // REQUIRES: kDone. Once.
  Negotiated TakeResult();

  // Why it is kClosing, in one line fit for a log.
  const std::string& reason() const { return reason_; }

 private:
  enum class Expect { kClientFlags, kHeader, kData, kSkip };

  // One step of parsing; false when it needs more bytes or may not go on.
  bool Step();
  bool TakeClientFlags();
  bool TakeHeader();
  bool SkipData();

  // Answers option_, whose data is complete (`data` is empty for options that take none).
  void Answer(ConstByteSpan data);
  void AnswerWithoutData();
  void AnswerExportName(ConstByteSpan data);
  void AnswerAbort();
  void AnswerList();
  void AnswerStructuredReply();
  void AnswerInfoOrGo(ConstByteSpan data);
  void AnswerMeta(ConstByteSpan data);
  void ReplyMeta(const MetaQuery& query);
  void ReplyInfos();

  void Reply(OptionReply type, ConstByteSpan data = {});
  void ReplyError(OptionReply type, std::string_view text);
  void ReplyUnknown(std::string_view name);
  void Close(std::string reason);
  bool Wanted(Info info) const;
  void Admit(std::shared_ptr<const ExportInfo> exported);

  ConstByteSpan input() const { return ConstByteSpan(input_).subspan(consumed_); }

  const ExportDirectory& exports_;
  const Limits limits_;
  State state_ = State::kTalking;
  Expect expect_ = Expect::kClientFlags;
  bool draining_ = false;
  bool fixed_newstyle_ = false;
  bool no_zeroes_ = false;
  uint32_t option_count_ = 0;
  OptionHeader option_;     // being received or answered
  uint32_t skip_left_ = 0;  // bytes of its data still to be thrown away

  std::vector<uint8_t> input_;
  size_t consumed_ = 0;
  std::vector<uint8_t> output_;
  size_t sent_ = 0;

  // Negotiated so far. The meta context holds only for the export name it was set for.
  bool structured_replies_ = false;
  bool allocation_selected_ = false;
  std::string meta_export_name_;

  // Of the INFO or GO being answered.
  std::shared_ptr<const ExportInfo> requested_;
  std::string requested_name_;
  std::vector<Info> requested_infos_;
  std::string reason_;
};

}  // namespace sluice::nbd
