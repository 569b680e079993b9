// SPDX-License-Identifier: Apache-2.0
// Writes a block durably, reads it back, tells what the volume is: hello URI
#include <cstdio>
#include <cstring>
#include <vector>

#include "sluice/batch.h"
#include "sluice/client.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto client = sluice::Client::Create();
  if (!client.ok()) return 1;
  const auto volume = client->Open(argv[1]);
  if (!volume.ok()) {
    std::fprintf(stderr, "%s\n", volume.status().ToString().c_str());
    return 1;
  }
  std::vector<std::byte> block(4096);
  std::memcpy(block.data(), "hello, block", 12);
  sluice::Batch batch(*volume);
  sluice::Status status = batch.Write(0, block).WriteZeroes(65536, 65536).Flush().SubmitAndWait();
  std::vector<std::byte> read(4096);
  if (status.ok()) status = volume->Read(0, read);
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    return 1;
  }
  std::printf("%s\n", read == block ? "what was written was read" : "what was read is wrong");
  return read == block ? 0 : 1;
}
