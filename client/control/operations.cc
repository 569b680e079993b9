// SPDX-License-Identifier: Apache-2.0
// `sluice operation ...`, and how a command waits for what it has begun.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/control/commands.h"
#include "client/control/json.h"
#include "client/control/pages.h"
#include "client/control/table.h"
#include "client/control/words.h"
#include "sluice/v1/operation.grpc.pb.h"

namespace sluice::control {
namespace {

using Stub = v1::OperationService::Stub;

constexpr uint32_t kLookMs = 500;  // so often the bar moves and an interrupt is noticed
constexpr int kInterruptedStatus = 128 + SIGINT;

std::unique_ptr<Stub> StubOf(const Link& link) {
  return v1::OperationService::NewStub(link.channel());
}

Cell StateOf(const v1::Operation& operation) {
  const std::string text = EnumText(*v1::OperationState_descriptor(), operation.state());
  switch (operation.state()) {
    case v1::OPERATION_STATE_RUNNING:
      return {text, Tone::kWarn};
    case v1::OPERATION_STATE_DONE:
      return {text, Tone::kGood};
    case v1::OPERATION_STATE_FAILED:
      return {text, Tone::kBad};
    default:
      return {text};
  }
}

std::string ProgressOf(const v1::Operation& operation) {
  if (operation.total() == 0) return "-";
  return absl::StrCat(operation.done(), " of ", operation.total());
}

void PrintOperation(const v1::Operation& operation, bool json) {
  if (json) return Print(JsonOf(operation) + "\n");
  Facts facts;
  facts.Add("id", operation.id());
  facts.Add("what", operation.title());
  facts.Add("state", StateOf(operation));
  if (!operation.error_text().empty()) facts.Add("because", {operation.error_text(), Tone::kBad});
  facts.Add("progress", ProgressOf(operation));
  facts.Add("began", TimeText(operation.began_unix_ns()));
  facts.Add("ended", TimeText(operation.ended_unix_ns()));
  Print(facts.Text(WantsColour()));
}

// The line of an operation that runs, on stderr if that is a terminal; gone at the end.
class Bar {
 public:
  ~Bar() {
    if (drawn_) std::fputs("\r\033[K", stderr);
  }
  void Draw(const v1::Operation& operation) {
    if (!terminal_) return;
    constexpr uint64_t kWidth = 24;
    std::string text = absl::StrCat("\r", operation.title());
    if (operation.total() > 0) {
      const uint64_t full =
          kWidth * std::min(operation.done(), operation.total()) / operation.total();
      absl::StrAppendFormat(&text, " [%s%s] %s", std::string(full, '#'),
                            std::string(kWidth - full, ' '), ProgressOf(operation));
    } else {
      absl::StrAppend(&text, ", ", AgeText(operation.began_unix_ns(), UnixNow()), " so far");
    }
    std::fprintf(stderr, "%s\033[K", text.c_str());
    drawn_ = true;
  }

 private:
  const bool terminal_ = isatty(STDERR_FILENO) != 0;
  bool drawn_ = false;
};

volatile sig_atomic_t interrupted = 0;

// For its life the first SIGINT asks for the end of waiting instead of the process's.
class InterruptGuard {
 public:
  InterruptGuard() {
    struct sigaction action {};
    action.sa_handler = [](int) { interrupted = 1; };
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    sigaction(SIGINT, &action, &former_);
  }
  ~InterruptGuard() { sigaction(SIGINT, &former_, nullptr); }
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

 private:
  struct sigaction former_ {};
};

int Tell(const v1::Operation& operation, bool json) {
  if (json) {
    PrintOperation(operation, true);
  } else if (operation.state() == v1::OPERATION_STATE_DONE) {
    Print(absl::StrCat(operation.title(), ": done\n"));
  }
  if (operation.state() == v1::OPERATION_STATE_DONE) return 0;
  const std::string why =
      operation.error_text().empty() ? "" : absl::StrCat(": ", operation.error_text());
  return Fail(
      Status(StatusCode::kFailedPrecondition,
             absl::StrCat(operation.title(), ": ",
                          EnumText(*v1::OperationState_descriptor(), operation.state()), why)));
}

}  // namespace

int ListOperations(const Link& link, bool json) {
  const auto operations = AskAll(link, *StubOf(link), &Stub::ListOperations,
                                 &v1::ListOperationsResponse::mutable_operations);
  if (!operations.ok()) return Fail(operations.status());
  if (json) return Print(JsonList(*operations)), 0;
  Table table({"ID", "STATE", "PROGRESS", "BEGAN", "WHAT"});
  for (const v1::Operation& operation : *operations) {
    const std::string why =
        operation.error_text().empty() ? "" : absl::StrCat(": ", operation.error_text());
    table.Add({operation.id(), StateOf(operation), ProgressOf(operation),
               TimeText(operation.began_unix_ns()), absl::StrCat(operation.title(), why)});
  }
  Print(table.Text(WantsColour()));
  return 0;
}

int ShowOperation(const Link& link, const std::string& id, bool json) {
  v1::GetOperationRequest request;
  request.set_id(id);
  const auto answer = Ask(link, *StubOf(link), &Stub::GetOperation, request);
  if (!answer.ok()) return Fail(answer.status());
  PrintOperation(answer->operation(), json);
  return 0;
}

int WaitOperation(const Link& link, const std::string& id, uint64_t patience_ms, bool json) {
  const auto stub = StubOf(link);
  const auto begin = std::chrono::steady_clock::now();
  const InterruptGuard guard;
  Bar bar;
  v1::WaitOperationRequest request;
  request.set_id(id);
  while (true) {
    uint64_t wait_ms = kLookMs;
    if (patience_ms > 0) {
      const auto gone = std::chrono::duration_cast<std::chrono::milliseconds>(
          std::chrono::steady_clock::now() - begin);
      const uint64_t left =
          patience_ms - std::min(patience_ms, static_cast<uint64_t>(gone.count()));
      if (left == 0) {
        return Fail(Status(StatusCode::kUnavailable,
                           absl::StrCat("it is still running: sluice operation wait ", id)));
      }
      wait_ms = std::min(wait_ms, left);
    }
    request.set_timeout_ms(static_cast<uint32_t>(wait_ms));
    const auto answer = Ask(link, *stub, &Stub::WaitOperation, request);
    if (!answer.ok()) return Fail(answer.status());
    if (answer->operation().state() != v1::OPERATION_STATE_RUNNING) {
      return Tell(answer->operation(), json);
    }
    bar.Draw(answer->operation());
    if (interrupted != 0) {
      Fail(Status(StatusCode::kCancelled,
                  absl::StrCat("waiting no longer; it goes on. sluice operation wait ", id,
                               " waits again, sluice operation cancel ", id, " ends it")));
      return kInterruptedStatus;
    }
  }
}

int CancelOperation(const Link& link, const std::string& id, bool json) {
  v1::CancelOperationRequest request;
  request.set_id(id);
  const auto answer = Ask(link, *StubOf(link), &Stub::CancelOperation, request);
  if (!answer.ok()) return Fail(answer.status());
  if (json) return PrintOperation(answer->operation(), true), 0;
  Print(absl::StrCat(answer->operation().title(), ": asked to end; it is ",
                     EnumText(*v1::OperationState_descriptor(), answer->operation().state()),
                     " now\n"));
  return 0;
}

}  // namespace sluice::control
