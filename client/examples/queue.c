/* SPDX-License-Identifier: Apache-2.0
 * C, with a poll loop of its own: sixteen writes and a flush in flight, then a read: queue URI */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "sluice/sluice.h"

enum { kWrites = 16, kBlock = 4096 };

/* Waits until `count` operations are done; the first error. */
static int await(sluice_queue* queue, int count) {
  struct pollfd ready = {.fd = sluice_queue_fd(queue), .events = POLLIN};
  int error = 0;
  while (count > 0) {
    sluice_event events[4];
    size_t taken;
    poll(&ready, 1, -1);
    taken = sluice_queue_take(queue, events, 4);
    for (size_t i = 0; i < taken; ++i) {
      if (error == 0) error = events[i].error;
    }
    count -= (int)taken;
  }
  return error;
}

int main(int argc, char** argv) {
  static char blocks[kWrites][kBlock];
  static char read[kBlock];
  sluice_volume* volume;
  sluice_queue* queue;
  int error;
  if (argc != 2) return 2;
  if (sluice_open(argv[1], 1, &volume) != 0) {
    fprintf(stderr, "%s\n", sluice_error());
    return 1;
  }
  if (sluice_queue_create(&queue) != 0) return 1;
  for (int i = 0; i < kWrites; ++i) {
    memset(blocks[i], 'a' + i, kBlock);
    sluice_aio_write(volume, queue, (uint64_t)i, blocks[i], kBlock, (uint64_t)i * kBlock, 0);
  }
  error = await(queue, kWrites);
  sluice_aio_flush(volume, queue, 100);
  if (error == 0) error = await(queue, 1);
  if (error == 0) error = sluice_read(volume, read, kBlock, 3 * kBlock);
  sluice_close(volume);
  sluice_queue_free(queue);
  printf("%s\n", error == 0 && memcmp(read, blocks[3], kBlock) == 0 ? "all is well" : "failed");
  return error == 0 && memcmp(read, blocks[3], kBlock) == 0 ? 0 : 1;
}
