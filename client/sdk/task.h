// SPDX-License-Identifier: Apache-2.0
// What a caller asked for, as requests a transport takes: split, in stages (a flush waits for what
// is before it), with one callback at its end. Built on any thread, run on the I/O thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "client/sdk/io_thread.h"
#include "client/sdk/transport.h"
#include "sluice/volume.h"

SLUICE_SDK_BEGIN
namespace internal {

class Task final : public IoThread::Message, private OpOwner {
 public:
  // The transport outlives the task.
  explicit Task(Transport& transport) : transport_(transport) {}

  // Checked here; what is wrong is the task's status, and nothing of it is sent.
  void Add(OpKind kind, uint64_t offset, uint64_t length, const void* data, uint32_t flags);
  void AddChecksums(uint64_t offset, uint64_t length, uint32_t chunk_bytes);
  void Hold(Buffer buffer) { buffer_ = std::move(buffer); }

  // Posted next; from then on the task is its own, and deletes itself behind the callback.
  static void Launch(std::unique_ptr<Task> task, Callback done);
  static void LaunchExtents(std::unique_ptr<Task> task, ExtentsCallback done);
  static void LaunchChecksums(std::unique_ptr<Task> task, ChecksumsCallback done);

 private:
  void Run() override { RunStages(); }
  void OnEnd(Op& op, Status status) override;

  static void Launch(std::unique_ptr<Task> task);
  Status Check(OpKind kind, uint64_t offset, uint64_t length, uint32_t flags) const;
  void AddFlush();
  void RunStages();
  void Finish();

  Transport& transport_;
  std::vector<Op> ops_;
  size_t next_ = 0;       // of ops_, the first that has not begun
  uint32_t pending_ = 0;  // begun and not ended
  bool running_ = false;  // RunStages() is on the stack
  Status status_;         // the first error
  Buffer buffer_;
  std::vector<Extent> extents_;
  std::vector<Checksum> checksums_;
  Callback done_;
  ExtentsCallback extents_done_;
  ChecksumsCallback checksums_done_;
};

}  // namespace internal
SLUICE_SDK_END
