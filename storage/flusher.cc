// SPDX-License-Identifier: Apache-2.0
#include "storage/flusher.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "core/log.h"
#include "core/reactor.h"

namespace sluice {

Flusher::Flusher(Medium& medium, Counter& flushes, Ended ended, void* context)
    : medium_(medium), ended_(ended), context_(context), flushes_(flushes) {
  io_.what = Op::kFlush;
  io_.context = this;
  io_.done = [](MediumIo& io) noexcept {
    auto* self = static_cast<Flusher*>(io.context);
    self->OnDone();
    self->Run();
  };
}

void Flusher::Add(Bio& bio) noexcept {
  bio.where = Where::kDevice;
  waiting_.push_back(bio);
}

void Flusher::Run() noexcept {
  while (!waiting_.empty()) {
    if (failed()) return EndAll(waiting_, EIO);
    if (!medium_.limits().volatile_cache) return EndAll(waiting_, 0);
    if (in_flight_) return;
    const Started started = medium_.Start(io_);
    if (started == Started::kFull) return;
    flushes_.Add(1);
    covered_.swap(waiting_);
    if (started == Started::kDone) {
      OnDone();
    } else {
      in_flight_ = true;
      expired_ = false;
      started_ns_ = Reactor::Current()->now_ns();
    }
  }
}

void Flusher::Fail() noexcept {
  if (!failed_) failed_ns_ = Reactor::Current()->now_ns();
  failed_ = true;
}

void Flusher::OnDone() noexcept {
  in_flight_ = false;
  if (io_.result < 0) {
    Fail();
    Log(LogLevel::kError, absl::StrCat("flush failed: ", strerror(static_cast<int>(-io_.result)),
                                       "; every flush and FUA on this disk fails until a restart"));
  }
  EndAll(covered_, failed() ? EIO : 0);
}

bool Flusher::ExpireBefore(uint64_t before_ns, Ended expire) noexcept {
  if (!in_flight_ || started_ns_ >= before_ns) return false;
  if (!expired_) {
    expired_ = true;
    Fail();
    Log(LogLevel::kError, "flush hangs; every flush and FUA on this disk fails until a restart");
    for (Bio& bio : covered_) expire(bio, ETIMEDOUT, context_);
  }
  FailWaiting();
  return true;
}

void Flusher::EndAll(BioFifo& bios, int error) noexcept {
  while (!bios.empty()) {
    Bio& bio = bios.front();
    bios.pop_front();
    ended_(bio, error, context_);
  }
}

}  // namespace sluice
