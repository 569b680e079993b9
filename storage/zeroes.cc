// SPDX-License-Identifier: Apache-2.0
#include "storage/zeroes.h"

#include <sys/mman.h>

#include "core/check.h"

namespace sluice {

char* Zeroes() noexcept {
  static char* const kZeroes = [] {
    void* memory =
        mmap(nullptr, kZeroesBytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    SLUICE_CHECK(memory != MAP_FAILED);
    return static_cast<char*>(memory);
  }();
  return kZeroes;
}

}  // namespace sluice
