/* SPDX-License-Identifier: Apache-2.0
 * The Sluice client library for C. The rules of sluice/volume.h hold: order, lost connections, and
 * who owns memory. Functions return 0 or a negative errno; -ETIMEDOUT is an unknown outcome,
 * -ESTALE says that another client has the volume now. Any thread may use a volume; a queue belongs
 * to one thread at a time.
 *
 *   sluice_volume* volume;
 *   int error = sluice_open("nbd://127.0.0.1/disk", 1, &volume);
 *   error = sluice_read(volume, buffer, 4096, 0);
 *   sluice_close(volume);
 *
 * sluice://HOST/EXPORT and sluice+unix:///EXPORT?socket=PATH open it over gRPC.
 *
 * Without blocking: start operations with a queue and a token of your own, wait until the queue's
 * descriptor is readable, take what is done.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SLUICE_C_API __attribute__((visibility("default")))
#define SLUICE_FUA 1u     /* answered when durable */
#define SLUICE_NO_HOLE 2u /* write zeroes: keep the space */

typedef struct sluice_volume sluice_volume;
typedef struct sluice_queue sluice_queue;

enum sluice_access { SLUICE_READ_WRITE = 0, SLUICE_READ_ONLY = 1, SLUICE_SHARED = 2 };

/* As sluice::Options in sluice/client.h; what is 0 or NULL is as it is there by default. */
typedef struct sluice_options {
  uint32_t connections;
  enum sluice_access access;
  /* The rest is for gRPC. */
  const char* client_id;
  int force;
  int insecure_tcp;
  const char* tls_ca_file;
  const char* tls_cert_file;
  const char* tls_key_file;
  const char* tls_server_name;
} sluice_options;

/* Blocks while it connects. The volume is closed by sluice_close(), which ends what is outstanding:
 * its queues must still be there. */
SLUICE_C_API int sluice_open(const char* uri, uint32_t connections, sluice_volume** volume);
SLUICE_C_API int sluice_open_with(const char* uri, const sluice_options* options,
                                  sluice_volume** volume);
SLUICE_C_API void sluice_close(sluice_volume* volume);
/* What the last failed call of this thread has to say; never NULL, good until the next one. */
SLUICE_C_API const char* sluice_error(void);

/* Bytes; the size is what it is now. */
SLUICE_C_API uint64_t sluice_size(const sluice_volume* volume);
SLUICE_C_API uint32_t sluice_block_size(const sluice_volume* volume);

SLUICE_C_API int sluice_read(sluice_volume* volume, void* into, size_t length, uint64_t offset);
SLUICE_C_API int sluice_write(sluice_volume* volume, const void* from, size_t length,
                              uint64_t offset, uint32_t flags);
SLUICE_C_API int sluice_write_zeroes(sluice_volume* volume, uint64_t length, uint64_t offset,
                                     uint32_t flags);
SLUICE_C_API int sluice_discard(sluice_volume* volume, uint64_t length, uint64_t offset,
                                uint32_t flags);
SLUICE_C_API int sluice_flush(sluice_volume* volume);

typedef struct sluice_event {
  uint64_t token;
  int error; /* 0 or a negative errno */
} sluice_event;

/* All that was started with a queue is taken, or its volume closed, before the queue is freed. */
SLUICE_C_API int sluice_queue_create(sluice_queue** queue);
SLUICE_C_API void sluice_queue_free(sluice_queue* queue);
/* Readable while there is something to take. For poll, select and epoll alone. */
SLUICE_C_API int sluice_queue_fd(const sluice_queue* queue);
/* Takes up to `room` events without waiting; how many. */
SLUICE_C_API size_t sluice_queue_take(sluice_queue* queue, sluice_event* events, size_t room);

SLUICE_C_API void sluice_aio_read(sluice_volume* volume, sluice_queue* queue, uint64_t token,
                                  void* into, size_t length, uint64_t offset);
SLUICE_C_API void sluice_aio_write(sluice_volume* volume, sluice_queue* queue, uint64_t token,
                                   const void* from, size_t length, uint64_t offset,
                                   uint32_t flags);
SLUICE_C_API void sluice_aio_flush(sluice_volume* volume, sluice_queue* queue, uint64_t token);

#ifdef __cplusplus
}
#endif
