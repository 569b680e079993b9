// SPDX-License-Identifier: Apache-2.0
#include "tests/server/session_client.h"

#include <algorithm>

namespace sluice::nbd {
namespace {

// Reads one chunk's body; false if it is malformed.
bool ParseChunk(const ChunkHeader& header, ConstByteSpan body, Answer& answer) {
  switch (header.type) {
    case ChunkType::kNone:
      return body.empty() && answer.done;
    case ChunkType::kOffsetData: {
      const auto data = DecodeOffsetData(body);
      if (!data) return false;
      answer.offset = data->offset;
      answer.has_offset = true;
      answer.data.assign(data->data.begin(), data->data.end());
      return true;
    }
    case ChunkType::kOffsetHole: {
      const auto hole = DecodeOffsetHole(body);
      if (!hole) return false;
      answer.offset = hole->offset;
      answer.has_offset = true;
      answer.hole_bytes = hole->length;
      return true;
    }
    case ChunkType::kBlockStatus: {
      const auto status = DecodeBlockStatus(body);
      if (!status || status->context_id != kAllocationContextId) return false;
      for (size_t i = 0; i < status->extent_count(); ++i) {
        answer.status.push_back(status->extent(i));
      }
      return true;
    }
    default: {
      const auto error = DecodeErrorBody(header.type, body);
      if (!error) return false;
      answer.error = error->error;
      answer.text = error->text;
      answer.has_offset = error->offset.has_value();
      answer.offset = error->offset.value_or(0);
      return true;
    }
  }
}

}  // namespace

std::vector<Answer> ParseReplies(ConstByteSpan bytes, const std::map<uint64_t, uint32_t>& reads,
                                 Bytes* rest) {
  std::vector<Answer> answers;
  while (true) {
    Answer answer;
    size_t size = 0;
    if (const auto simple =
            DecodeSimpleReply(bytes.first(std::min(bytes.size(), kSimpleReplyBytes)))) {
      answer.cookie = simple->cookie;
      answer.error = simple->error;
      const auto read = reads.find(simple->cookie);
      const size_t data = read != reads.end() && answer.error == Error::kNone ? read->second : 0;
      size = kSimpleReplyBytes + data;
      if (bytes.size() < size) break;
      const ConstByteSpan payload = bytes.subspan(kSimpleReplyBytes, data);
      answer.data.assign(payload.begin(), payload.end());
    } else if (const auto chunk =
                   DecodeChunkHeader(bytes.first(std::min(bytes.size(), kChunkHeaderBytes)))) {
      size = kChunkHeaderBytes + chunk->length;
      if (bytes.size() < size) break;
      answer.structured = true;
      answer.cookie = chunk->cookie;
      answer.type = chunk->type;
      answer.done = chunk->flags == kChunkDone;
      if (!ParseChunk(*chunk, bytes.subspan(kChunkHeaderBytes, chunk->length), answer)) break;
    } else {
      break;
    }
    answers.push_back(std::move(answer));
    bytes = bytes.subspan(size);
  }
  rest->assign(bytes.begin(), bytes.end());
  return answers;
}

SessionWire::SessionWire(const SessionSetup& setup) : structured_(setup.structured) {
  std::vector<std::unique_ptr<Poller>> pollers;
  for (int i = 0; i < (setup.crossing ? 2 : 1); ++i) {
    pollers.push_back(std::make_unique<ManualPoller>());
  }
  ReactorOptions options;
  options.credits = setup.credits;
  options.buffer_bytes = setup.pool_bytes;
  options.poll_budget_ns = 0;
  reactors = std::make_unique<ReactorSet>(std::move(pollers), clock, options);
  target = std::make_unique<FakeTarget>(setup.size, setup.crossing ? 1 : 0);
  Negotiated negotiated;
  auto info = std::make_shared<ExportInfo>(setup.info);
  info->size_bytes = setup.size;
  negotiated.exported = info;
  negotiated.structured_replies = setup.structured;
  negotiated.block_sizes = setup.block_sizes;
  if (setup.contexts) negotiated.allocation_context = kAllocationContextId;
  negotiated.unparsed = setup.unparsed;
  session = std::make_unique<Session>(reactor(), *target, std::move(negotiated), setup.options,
                                      *this, stats);
}

SessionWire::~SessionWire() {
  if (session == nullptr) return;
  Abandon();
  target->hold = false;
  OnHome([this] {
    target->FinishAll();
    target->AnswerQueries();
  });
  EXPECT_TRUE(session->idle());
  session.reset();
  EXPECT_EQ(reactor().bios().used(), 0u);
  EXPECT_EQ(reactor().bios().reserved(), 0u);
  EXPECT_EQ(reactor().buffers().free_bytes(), reactor().buffers().bytes());
}

bool SessionWire::MoveOnce() {
  bool moved = false;
  Segment segments[64];
  if (session->wants_receive() && !incoming.empty()) {
    const size_t count = session->ReceiveInto(segments, std::size(segments));
    size_t fed = 0;
    for (size_t i = 0; i < count; ++i) {
      const size_t part = std::min(
          {segments[i].iov_len, incoming.size(), receive_max - std::min(fed, receive_max)});
      std::copy_n(incoming.begin(), part, static_cast<uint8_t*>(segments[i].iov_base));
      incoming.erase(incoming.begin(), incoming.begin() + static_cast<ptrdiff_t>(part));
      fed += part;
    }
    session->Fed(fed);
    moved = true;
  }
  if (session->has_output() && reads) {
    const size_t count = session->Output(segments, std::size(segments));
    size_t sent = 0;
    for (size_t i = 0; i < count; ++i) {
      const size_t part = std::min(segments[i].iov_len, send_max - std::min(sent, send_max));
      const auto* from = static_cast<const uint8_t*>(segments[i].iov_base);
      outgoing.insert(outgoing.end(), from, from + part);
      sent += part;
    }
    session->Sent(sent);
    moved = true;
  }
  return moved;
}

void SessionWire::Pump() {
  bool moved = true;
  while (moved) {
    moved = false;
    On([&] { moved = MoveOnce(); });
  }
}

void SessionWire::On(absl::AnyInvocable<void()> f) {
  reactor().Post(std::move(f));
  Settle();
}

void SessionWire::OnHome(absl::AnyInvocable<void()> f) {
  reactors->at(target->home()).Post(std::move(f));
  Settle();
}

void SessionWire::Settle() {
  for (bool busy = true; busy;) {
    busy = false;
    for (uint16_t id = 0; id < reactors->size(); ++id) busy |= reactors->at(id).Turn();
  }
}

std::vector<Answer> SessionWire::TakeAnswers() {
  Bytes rest;
  auto answers = ParseReplies(outgoing, simple_reads, &rest);
  outgoing = std::move(rest);
  return answers;
}

void SessionWire::NoteReads(const Bytes& bytes) {
  if (structured_ || bytes.size() < kRequestBytes) return;
  const auto header = DecodeRequest(ConstByteSpan(bytes).first(kRequestBytes));
  if (header && header->command == Command::kRead) simple_reads[header->cookie] = header->length;
}

std::vector<Answer> SessionWire::Ask(const Bytes& bytes) {
  NoteReads(bytes);
  Put(bytes);
  Pump();
  return TakeAnswers();
}

Answer SessionWire::AskOne(const Bytes& bytes) {
  auto answers = Ask(bytes);
  EXPECT_EQ(answers.size(), 1u);
  EXPECT_TRUE(outgoing.empty());
  return answers.empty() ? Answer{} : answers.front();
}

Answer SessionWire::Ask(Command command, uint64_t offset, uint32_t length, uint16_t flags) {
  const uint64_t cookie = next_cookie_++;
  const Answer answer =
      AskOne(command == Command::kWrite ? WriteBytes(cookie, offset, length, flags)
                                        : RequestBytes(command, cookie, offset, length, flags));
  EXPECT_EQ(answer.cookie, cookie);
  return answer;
}

void SessionWire::Abandon() {
  On([this] { session->Abandon(); });
}

}  // namespace sluice::nbd
