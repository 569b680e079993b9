// SPDX-License-Identifier: Apache-2.0
// Operations that leave together and are answered by one call.
//
//   Batch batch(volume);
//   batch.Write(0, head).Discard(8 << 20, 1 << 20).Flush();
//   Status status = batch.SubmitAndWait();
//
// What stands between two flushes is done in any order; a flush waits for all before it, and what
// comes behind it waits for the flush. The first error is the batch's: what had begun then is
// awaited, what had not is left away. One thread at a time; memory as in sluice/volume.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "sluice/export.h"
#include "sluice/volume.h"

SLUICE_SDK_BEGIN

namespace internal {
class Task;
}

class SLUICE_API Batch {
 public:
  explicit Batch(const Volume& volume);
  ~Batch();
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  Batch& Read(uint64_t offset, std::span<std::byte> into);
  Batch& Write(uint64_t offset, std::span<const std::byte> from, uint32_t flags = kNone);
  Batch& WriteZeroes(uint64_t offset, uint64_t length, uint32_t flags = kNone);
  Batch& Discard(uint64_t offset, uint64_t length, uint32_t flags = kNone);
  Batch& Flush();

  // Empties the batch, which may then be filled anew.
  void Submit(Callback done);
  Status SubmitAndWait();

 private:
  Volume volume_;
  std::unique_ptr<internal::Task> task_;
};

SLUICE_SDK_END
