// SPDX-License-Identifier: Apache-2.0
// Coroutines: eight of them write and read a part each, side by side: pipeline URI
#include <cstdio>
#include <exception>
#include <latch>
#include <vector>

#include "sluice/awaitable.h"
#include "sluice/client.h"

namespace {

constexpr uint64_t kParts = 8;
constexpr uint64_t kBlocks = 64;
constexpr size_t kBlock = 4096;

// Begins at once and belongs to nobody.
struct Detached {
  struct promise_type {
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

Detached Run(const sluice::Volume& volume, uint64_t part, bool& good, std::latch& done) {
  const sluice::Await io(volume);
  std::vector<std::byte> block(kBlock);
  std::vector<std::byte> read(kBlock);
  good = true;
  for (uint64_t i = 0; i < kBlocks && good; ++i) {
    const uint64_t offset = (part * kBlocks + i) * kBlock;
    block.assign(kBlock, std::byte(part * 31 + i));
    sluice::Status status = co_await io.Write(offset, block);
    if (status.ok()) status = co_await io.Read(offset, read);
    good = status.ok() && read == block;
  }
  done.count_down();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto client = sluice::Client::Create();
  if (!client.ok()) return 1;
  const auto volume = client->Open(argv[1], {.connections = 2});
  if (!volume.ok()) {
    std::fprintf(stderr, "%s\n", volume.status().ToString().c_str());
    return 1;
  }
  bool good[kParts];
  std::latch done(kParts);
  for (uint64_t part = 0; part < kParts; ++part) Run(*volume, part, good[part], done);
  done.wait();
  uint64_t right = 0;
  for (const bool part : good) right += part ? 1 : 0;
  std::printf("%d of %d parts are right\n", static_cast<int>(right), static_cast<int>(kParts));
  return right == kParts ? 0 : 1;
}
