// SPDX-License-Identifier: Apache-2.0
// How an operation ended. Nothing in the SDK throws. Any thread; copies share what they say.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "sluice/export.h"

SLUICE_SDK_BEGIN

enum class StatusCode {
  kOk = 0,
  kInvalidArgument,     // misaligned, malformed, a wrong option; never worth a retry
  kOutOfRange,          // past the volume's end
  kNotFound,            // the server has no such export
  kReadOnly,            // the volume takes no writes
  kUnsupported,         // the server cannot do that
  kNoSpace,             // the server's disk is full
  kIoError,             // the server's disk failed
  kUnavailable,         // no connection: surely not done
  kUnknownOutcome,      // sent, and the connection lost before the answer: done or not done
  kFailedPrecondition,  // refused in this state; the message names the cure
  kProtocolError,       // the server does not keep to the protocol
  kCancelled,           // the volume was closed first: surely not done, or changed nothing
  kFenced,              // another client has taken the volume over: surely not done
};
// "OK", "OUT_OF_RANGE" ...
SLUICE_API const char* StatusCodeName(StatusCode code);

// One pointer; null when all is well.
class [[nodiscard]] SLUICE_API Status {
 public:
  Status() = default;
  // REQUIRES: not kOk.
  Status(StatusCode code, std::string message)
      : state_(std::make_shared<State>(State{code, std::move(message)})) {}

  bool ok() const { return state_ == nullptr; }
  StatusCode code() const { return ok() ? StatusCode::kOk : state_->code; }
  // For humans, and with the cure where there is one. Empty when ok.
  const std::string& message() const;
  // "NOT_FOUND: the server has no export ..."; "OK".
  std::string ToString() const;
  // The nearest system errno (positive), 0 when ok.
  int ToErrno() const;

 private:
  struct State {
    StatusCode code;
    std::string message;
  };
  std::shared_ptr<const State> state_;
};

// A value, or why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  // REQUIRES: not ok.
  Result(Status status) : status_(std::move(status)) {}

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  // REQUIRES: ok().
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return *std::move(value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  Status status_;
  std::optional<T> value_;
};

SLUICE_SDK_END
