// SPDX-License-Identifier: Apache-2.0
#include "sluice/volume.h"

#include <semaphore>
#include <utility>

#include "client/sdk/volume_state.h"
#include "core/check.h"

SLUICE_SDK_BEGIN
namespace internal {

VolumeState::~VolumeState() {
  // On the I/O thread it would wait for itself.
  SLUICE_CHECK(!transport_->thread().OnThread());
  transport_->PrepareToStop();
  class Stopping final : public IoThread::Message {
   public:
    explicit Stopping(Transport& stopped) : stopped_(stopped) {}
    void Run() override { stopped_.Stop(); }

   private:
    Transport& stopped_;
  } stopping(*transport_);
  transport_->thread().Call(stopping);
}

Status VolumeState::MayBlock() const {
  if (!transport_->thread().OnThread()) return {};
  return Status(StatusCode::kFailedPrecondition,
                "a blocking call in a callback would wait for itself: use an Async one there");
}

Status VolumeState::Complete(std::unique_ptr<Task> task) {
  if (Status status = MayBlock(); !status.ok()) return status;
  Status outcome;
  std::binary_semaphore done(0);
  Launch(std::move(task), [&](Status status) {
    outcome = std::move(status);
    done.release();
  });
  done.acquire();
  return outcome;
}

namespace {

std::unique_ptr<Task> One(VolumeState& state, OpKind kind, uint64_t offset, uint64_t length,
                          const void* data, uint32_t flags) {
  auto task = state.NewTask();
  task->Add(kind, offset, length, data, flags);
  return task;
}

// Waits for what `start` is given a callback for; refused on the I/O thread.
template <typename T, typename Start>
Result<T> WaitFor(VolumeState& state, Start start) {
  if (Status status = state.MayBlock(); !status.ok()) return status;
  Result<T> outcome = T();
  std::binary_semaphore done(0);
  start([&](Result<T> result) {
    outcome = std::move(result);
    done.release();
  });
  done.acquire();
  return outcome;
}

std::future<Status> FutureOf(VolumeState& state, std::unique_ptr<Task> task) {
  auto promise = std::make_shared<std::promise<Status>>();
  auto future = promise->get_future();
  state.Launch(std::move(task),
               [promise](Status status) { promise->set_value(std::move(status)); });
  return future;
}

}  // namespace
}  // namespace internal

using internal::One;
using internal::OpKind;

const VolumeInfo& Volume::info() const { return state_->transport().info(); }
uint64_t Volume::size_bytes() const { return state_->transport().size_bytes(); }
BufferPool& Volume::buffers() const { return state_->engine().buffers(); }

Status Volume::Read(uint64_t offset, std::span<std::byte> into) const {
  return state_->Complete(One(*state_, OpKind::kRead, offset, into.size(), into.data(), 0));
}
Status Volume::Write(uint64_t offset, std::span<const std::byte> from, uint32_t flags) const {
  return state_->Complete(One(*state_, OpKind::kWrite, offset, from.size(), from.data(), flags));
}
Status Volume::WriteZeroes(uint64_t offset, uint64_t length, uint32_t flags) const {
  return state_->Complete(One(*state_, OpKind::kWriteZeroes, offset, length, nullptr, flags));
}
Status Volume::Discard(uint64_t offset, uint64_t length, uint32_t flags) const {
  return state_->Complete(One(*state_, OpKind::kDiscard, offset, length, nullptr, flags));
}
Status Volume::Flush() const {
  return state_->Complete(One(*state_, OpKind::kFlush, 0, 0, nullptr, 0));
}

Result<std::vector<Extent>> Volume::Extents(uint64_t offset, uint64_t length) const {
  return internal::WaitFor<std::vector<Extent>>(
      *state_, [&](ExtentsCallback done) { AsyncExtents(offset, length, std::move(done)); });
}

Result<std::vector<Checksum>> Volume::Checksums(uint64_t offset, uint64_t length,
                                                uint32_t chunk_bytes) const {
  return internal::WaitFor<std::vector<Checksum>>(*state_, [&](ChecksumsCallback done) {
    AsyncChecksums(offset, length, chunk_bytes, std::move(done));
  });
}

void Volume::AsyncRead(uint64_t offset, std::span<std::byte> into, Callback done) const {
  state_->Launch(One(*state_, OpKind::kRead, offset, into.size(), into.data(), 0), std::move(done));
}
void Volume::AsyncRead(uint64_t offset, Buffer into, Callback done) const {
  auto task = One(*state_, OpKind::kRead, offset, into.size(), into.data(), 0);
  task->Hold(std::move(into));
  state_->Launch(std::move(task), std::move(done));
}
void Volume::AsyncWrite(uint64_t offset, std::span<const std::byte> from, uint32_t flags,
                        Callback done) const {
  state_->Launch(One(*state_, OpKind::kWrite, offset, from.size(), from.data(), flags),
                 std::move(done));
}
void Volume::AsyncWrite(uint64_t offset, Buffer from, uint32_t flags, Callback done) const {
  auto task = One(*state_, OpKind::kWrite, offset, from.size(), from.data(), flags);
  task->Hold(std::move(from));
  state_->Launch(std::move(task), std::move(done));
}
void Volume::AsyncWriteZeroes(uint64_t offset, uint64_t length, uint32_t flags,
                              Callback done) const {
  state_->Launch(One(*state_, OpKind::kWriteZeroes, offset, length, nullptr, flags),
                 std::move(done));
}
void Volume::AsyncDiscard(uint64_t offset, uint64_t length, uint32_t flags, Callback done) const {
  state_->Launch(One(*state_, OpKind::kDiscard, offset, length, nullptr, flags), std::move(done));
}
void Volume::AsyncFlush(Callback done) const {
  state_->Launch(One(*state_, OpKind::kFlush, 0, 0, nullptr, 0), std::move(done));
}
void Volume::AsyncExtents(uint64_t offset, uint64_t length, ExtentsCallback done) const {
  internal::Task::LaunchExtents(One(*state_, OpKind::kExtents, offset, length, nullptr, 0),
                                std::move(done));
}
void Volume::AsyncChecksums(uint64_t offset, uint64_t length, uint32_t chunk_bytes,
                            ChecksumsCallback done) const {
  auto task = state_->NewTask();
  task->AddChecksums(offset, length, chunk_bytes);
  internal::Task::LaunchChecksums(std::move(task), std::move(done));
}

std::future<Status> Volume::ReadFuture(uint64_t offset, std::span<std::byte> into) const {
  return internal::FutureOf(*state_,
                            One(*state_, OpKind::kRead, offset, into.size(), into.data(), 0));
}
std::future<Status> Volume::WriteFuture(uint64_t offset, std::span<const std::byte> from,
                                        uint32_t flags) const {
  return internal::FutureOf(*state_,
                            One(*state_, OpKind::kWrite, offset, from.size(), from.data(), flags));
}
std::future<Status> Volume::FlushFuture() const {
  return internal::FutureOf(*state_, One(*state_, OpKind::kFlush, 0, 0, nullptr, 0));
}

SLUICE_SDK_END
