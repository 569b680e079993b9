// SPDX-License-Identifier: Apache-2.0
#include "storage/flusher.h"

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "core/log.h"
#include "core/reactor.h"

namespace sluice {

Flusher::Flusher(Medium& medium, Ended ended, void* context)
    : medium_(medium), ended_(ended), context_(context) {
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
  while (!in_flight_ && !waiting_.empty()) {
    if (failed_) return EndAll(waiting_, EIO);
    if (!medium_.limits().volatile_cache) return EndAll(waiting_, 0);
    switch (medium_.Start(io_)) {
      case Started::kFull:
        return;
      case Started::kPending:
        covered_.swap(waiting_);
        in_flight_ = true;
        started_ns_ = Reactor::Current()->now_ns();
        return;
      case Started::kDone:
        covered_.swap(waiting_);
        OnDone();
    }
  }
}

void Flusher::OnDone() noexcept {
  in_flight_ = false;
  flushes_.Add(1);
  if (io_.result < 0) {
    failed_ = true;
    Log(LogLevel::kError, absl::StrCat("flush failed: ", strerror(static_cast<int>(-io_.result)),
                                       "; every flush and FUA on this disk fails until a restart"));
  }
  EndAll(covered_, failed_ ? EIO : 0);
}

void Flusher::EndAll(BioFifo& bios, int error) noexcept {
  while (!bios.empty()) {
    Bio& bio = bios.front();
    bios.pop_front();
    ended_(bio, error, context_);
  }
}

}  // namespace sluice
