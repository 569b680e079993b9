// SPDX-License-Identifier: Apache-2.0
// The session's lower half: requests into bios and queries, and what came of them into answers.
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "core/log.h"
#include "core/units.h"
#include "server/nbd/extents.h"
#include "server/nbd/session.h"
#include "server/text.h"

namespace sluice::nbd {
namespace {

constexpr uint32_t kStatusExtentsMax = 1024;  // of one BLOCK_STATUS; the client asks again

Op OpOf(Command command) {
  switch (command) {
    case Command::kWrite:
      return Op::kWrite;
    case Command::kFlush:
      return Op::kFlush;
    case Command::kTrim:
      return Op::kTrim;
    case Command::kCache:
      return Op::kCache;
    case Command::kWriteZeroes:
      return Op::kZero;
    default:
      return Op::kRead;
  }
}

uint8_t BioFlagsOf(const Request& header) {
  uint8_t flags = 0;
  if (IsWriteType(header.command) && (header.flags & kFlagFua) != 0) flags |= kFua;
  if ((header.flags & kFlagNoHole) != 0) flags |= kNoHole;
  if ((header.flags & kFlagFastZero) != 0) flags |= kFastZero;
  return flags;
}

const char* TextOf(int error) {
  const char* text = strerrordesc_np(error);
  return text != nullptr ? text : "unknown error";
}

}  // namespace

void Session::Launch(ServedRequest& request) {
  request.state = ServedRequest::State::kRunning;
  if (request.header.command == Command::kBlockStatus) return AskExtents(request);
  SubmitParts(request);
}

void Session::SubmitParts(ServedRequest& request) {
  BioGroup& group = request.group.emplace();
  const uint8_t borrow = Borrows(request.header) ? kBorrow : 0;
  for (BioCell* cell : request.parts) {
    Bio& bio = cell->bio;
    bio.op = OpOf(request.header.command);
    bio.flags = static_cast<uint8_t>(BioFlagsOf(request.header) | borrow);
    bio.prio = options_.prio;
    bio.flow = options_.flow;
    bio.target = &target_;
    bio.release = [](Bio& done) noexcept {
      auto& its_cell = reinterpret_cast<BioCell&>(done);
      auto& its_request = *static_cast<ServedRequest*>(its_cell.owner);
      its_request.session->OnReleased(its_request, its_cell);
    };
    cell->owner = &request;
    group.Add(bio, cell->callback);
  }
  request.unreleased = static_cast<uint32_t>(request.parts.size());
  group.WhenAll(
      [](BioGroup&, void* context) noexcept {
        auto& done = *static_cast<ServedRequest*>(context);
        done.session->OnParts(done);
      },
      &request);
  for (BioCell* cell : request.parts) Submit(cell->bio);
}

void Session::AskExtents(ServedRequest& request) {
  request.asking = true;
  ++asking_;
  ExtentQuery& query = request.query;
  query.offset = request.header.offset;
  query.length = request.header.length;
  // Two for one, because the first may have to be rounded with its neighbour.
  query.extents_max = (request.header.flags & kFlagReqOne) != 0 ? 2 : kStatusExtentsMax;
  query.extents.clear();
  query.error = 0;
  query.context = &request;
  query.done = [](ExtentQuery& done) noexcept {
    auto& its_request = *static_cast<ServedRequest*>(done.context);
    its_request.session->OnExtents(its_request);
  };
  sluice::AskExtents(target_, query);
}

void Session::OnExtents(ServedRequest& request) {
  request.asking = false;
  --asking_;
  if (abandoned_) {
    Retire(request);
    return owner_.OnSessionChanged();
  }
  request.error = request.query.error;
  if (request.error == 0) {
    const bool one = (request.header.flags & kFlagReqOne) != 0;
    ToStatus(request.query.extents,
             {request.header.offset, request.header.length, terms_.block_bytes,
              one ? 1 : kStatusExtentsMax},
             request.status);
    // What is not known to be a hole is data: a safe answer, never an empty one.
    if (request.status.empty()) request.status.push_back({request.header.length, 0});
  } else {
    ExplainError(request);
  }
  Answer(request);
}

// Every part has been called back; some may still be in the kernel's hands, if a hung device was
// given up.
void Session::OnParts(ServedRequest& request) {
  FindError(request);
  if (request.error != 0) ExplainError(request);
  Answer(request);
}

// The first error in time, and for READ the first byte in space that is not known to be good.
void Session::FindError(ServedRequest& request) {
  request.error = request.group->error();
  for (const BioCell* cell : request.parts) {
    const Bio& bio = cell->bio;
    const bool is_short = HasData(bio.op) && bio.error == 0 && bio.resid != 0;
    if (request.error == 0 && is_short) request.error = EIO;
    if (request.header.command != Command::kRead || (bio.error == 0 && !is_short)) continue;
    // Nothing of a bio that failed is known to be good, and its disk may hold it still.
    const uint32_t good = bio.error != 0 ? 0 : bio.length - bio.resid;
    if (!request.error_offset) request.error_offset = bio.offset + good;
  }
  SLUICE_CHECK(request.error != 0 || !Borrows(request.header) ||
               (request.parts.back()->bio.flags & kLent) != 0);
}

void Session::OnReleased(ServedRequest& request, BioCell& cell) {
  cell.owner = nullptr;
  if (request.header.command == Command::kWrite) memory_.GivePayload(cell);
  if (--request.unreleased > 0) return;
  const bool was_sent = request.sent;
  Retire(request);
  if (was_sent) {
    Resume();
    owner_.OnSessionChanged();
  }
}

void Session::Answer(ServedRequest& request) {
  request.state = ServedRequest::State::kAnswered;
  if (request.error != 0) {
    stats_.errors.Add(static_cast<int>(NbdError(request.error)));
  } else {
    stats_.of(request.kind).bytes.Add(request.header.length);
    if (request.kind == RequestKind::kRead) {
      ++counts_.reads;
      counts_.read_bytes += request.header.length;
    } else if (request.kind == RequestKind::kWrite) {
      ++counts_.writes;
      counts_.written_bytes += request.header.length;
    }
  }
  Render(request, structured_, replies_);
  owner_.OnSessionChanged();
}

// Gives a storage error its text, and tells the operator what the client will not be told.
void Session::ExplainError(ServedRequest& request) {
  std::snprintf(request.text_buffer, sizeof(request.text_buffer), "%s failed: %s",
                CommandName(request.header.command).data(), TextOf(request.error));
  request.text = request.text_buffer;
  if (request.error == EOPNOTSUPP) {  // an answer to FAST_ZERO, and to nothing else
    if ((request.header.flags & kFlagFastZero) != 0) return;
    LogError(request);
    request.error = EINVAL;
    return;
  }
  LogError(request);
}

void Session::LogError(const ServedRequest& request) {
  ++unlogged_;
  const uint64_t now_ns = reactor_.now_ns();
  if (now_ns < next_log_ns_) return;
  next_log_ns_ = now_ns + kSecond;
  const uint64_t others = std::exchange(unlogged_, 0) - 1;
  const std::string more = others > 0 ? absl::StrCat("; ", others, " more not shown") : "";
  Log(LogLevel::kError, absl::StrCat("nbd: export ", Quote(exported_->name), ": ", request.text,
                                     " (errno ", request.error, "), ", request.header.length,
                                     " bytes at ", request.header.offset, more));
}

}  // namespace sluice::nbd
