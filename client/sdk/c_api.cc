// SPDX-License-Identifier: Apache-2.0
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <mutex>
#include <string>

#include "core/check.h"
#include "sluice/client.h"
#include "sluice/sluice.h"

struct sluice_volume {
  sluice::Volume volume;
};

struct sluice_queue {
  // Under the lock to its end: once the event is seen the queue may be freed.
  void Put(uint64_t token, const sluice::Status& status) {
    const std::lock_guard lock(mutex);
    events.push_back({token, -status.ToErrno()});
    if (events.size() > 1) return;
    const uint64_t one = 1;
    SLUICE_CHECK(write(fd, &one, sizeof(one)) == sizeof(one));
  }

  int fd = -1;
  std::mutex mutex;
  std::deque<sluice_event> events;  // guarded by mutex; fd is readable while there are any
};

namespace {

using sluice::Status;

thread_local std::string last_error;

int Told(const Status& status) {
  if (!status.ok()) last_error = status.ToString();
  return -status.ToErrno();
}

std::span<std::byte> Bytes(void* memory, size_t length) {
  return {static_cast<std::byte*>(memory), length};
}
std::span<const std::byte> Bytes(const void* memory, size_t length) {
  return {static_cast<const std::byte*>(memory), length};
}

int OpenVolume(const char* uri, const sluice::Options& options, sluice_volume** volume) {
  const auto client = sluice::Client::Create();
  if (!client.ok()) return Told(client.status());
  auto opened = client->Open(uri, options);
  if (!opened.ok()) return Told(opened.status());
  *volume = new sluice_volume{*std::move(opened)};
  return 0;
}

std::string Text(const char* text) { return text == nullptr ? "" : text; }

auto Into(sluice_queue* queue, uint64_t token) {
  return [queue, token](const Status& status) { queue->Put(token, status); };
}

}  // namespace

int sluice_open(const char* uri, uint32_t connections, sluice_volume** volume) {
  return OpenVolume(uri, {.connections = connections}, volume);
}

int sluice_open_with(const char* uri, const sluice_options* options, sluice_volume** volume) {
  sluice::Options given;
  if (options->connections != 0) given.connections = options->connections;
  switch (options->access) {
    case SLUICE_READ_WRITE:
      break;
    case SLUICE_READ_ONLY:
      given.access = sluice::Access::kReadOnly;
      break;
    case SLUICE_SHARED:
      given.access = sluice::Access::kShared;
      break;
    default:
      return Told(Status(sluice::StatusCode::kInvalidArgument, "access: there is no such one"));
  }
  given.client_id = Text(options->client_id);
  given.force = options->force != 0;
  given.insecure_tcp = options->insecure_tcp != 0;
  given.tls = {Text(options->tls_ca_file), Text(options->tls_cert_file),
               Text(options->tls_key_file), Text(options->tls_server_name)};
  return OpenVolume(uri, given, volume);
}

void sluice_close(sluice_volume* volume) { delete volume; }

const char* sluice_error(void) { return last_error.c_str(); }

uint64_t sluice_size(const sluice_volume* volume) { return volume->volume.size_bytes(); }
uint32_t sluice_block_size(const sluice_volume* volume) {
  return volume->volume.info().block_bytes;
}

int sluice_read(sluice_volume* volume, void* into, size_t length, uint64_t offset) {
  return Told(volume->volume.Read(offset, Bytes(into, length)));
}
int sluice_write(sluice_volume* volume, const void* from, size_t length, uint64_t offset,
                 uint32_t flags) {
  return Told(volume->volume.Write(offset, Bytes(from, length), flags));
}
int sluice_write_zeroes(sluice_volume* volume, uint64_t length, uint64_t offset, uint32_t flags) {
  return Told(volume->volume.WriteZeroes(offset, length, flags));
}
int sluice_discard(sluice_volume* volume, uint64_t length, uint64_t offset, uint32_t flags) {
  return Told(volume->volume.Discard(offset, length, flags));
}
int sluice_flush(sluice_volume* volume) { return Told(volume->volume.Flush()); }

int sluice_queue_create(sluice_queue** queue) {
  const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) return -errno;
  *queue = new sluice_queue;
  (*queue)->fd = fd;
  return 0;
}

void sluice_queue_free(sluice_queue* queue) {
  close(queue->fd);
  delete queue;
}

int sluice_queue_fd(const sluice_queue* queue) { return queue->fd; }

size_t sluice_queue_take(sluice_queue* queue, sluice_event* events, size_t room) {
  const std::lock_guard lock(queue->mutex);
  const size_t count = std::min(room, queue->events.size());
  if (count == 0) return 0;
  std::copy_n(queue->events.begin(), count, events);
  queue->events.erase(queue->events.begin(),
                      queue->events.begin() + static_cast<std::ptrdiff_t>(count));
  if (queue->events.empty()) {
    uint64_t value = 0;
    SLUICE_CHECK(read(queue->fd, &value, sizeof(value)) == sizeof(value));
  }
  return count;
}

void sluice_aio_read(sluice_volume* volume, sluice_queue* queue, uint64_t token, void* into,
                     size_t length, uint64_t offset) {
  volume->volume.AsyncRead(offset, Bytes(into, length), Into(queue, token));
}
void sluice_aio_write(sluice_volume* volume, sluice_queue* queue, uint64_t token, const void* from,
                      size_t length, uint64_t offset, uint32_t flags) {
  volume->volume.AsyncWrite(offset, Bytes(from, length), flags, Into(queue, token));
}
void sluice_aio_flush(sluice_volume* volume, sluice_queue* queue, uint64_t token) {
  volume->volume.AsyncFlush(Into(queue, token));
}
