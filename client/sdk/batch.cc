// SPDX-License-Identifier: Apache-2.0
#include "sluice/batch.h"

#include <utility>

#include "client/sdk/volume_state.h"

SLUICE_SDK_BEGIN

using internal::OpKind;

Batch::Batch(const Volume& volume) : volume_(volume), task_(volume_.state_->NewTask()) {}
Batch::~Batch() = default;

Batch& Batch::Read(uint64_t offset, std::span<std::byte> into) {
  task_->Add(OpKind::kRead, offset, into.size(), into.data(), 0);
  return *this;
}
Batch& Batch::Write(uint64_t offset, std::span<const std::byte> from, uint32_t flags) {
  task_->Add(OpKind::kWrite, offset, from.size(), from.data(), flags);
  return *this;
}
Batch& Batch::WriteZeroes(uint64_t offset, uint64_t length, uint32_t flags) {
  task_->Add(OpKind::kWriteZeroes, offset, length, nullptr, flags);
  return *this;
}
Batch& Batch::Discard(uint64_t offset, uint64_t length, uint32_t flags) {
  task_->Add(OpKind::kDiscard, offset, length, nullptr, flags);
  return *this;
}
Batch& Batch::Flush() {
  task_->Add(OpKind::kFlush, 0, 0, nullptr, 0);
  return *this;
}

void Batch::Submit(Callback done) {
  volume_.state_->Launch(std::exchange(task_, volume_.state_->NewTask()), std::move(done));
}
Status Batch::SubmitAndWait() {
  return volume_.state_->Complete(std::exchange(task_, volume_.state_->NewTask()));
}

SLUICE_SDK_END
