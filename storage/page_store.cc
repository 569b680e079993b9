// SPDX-License-Identifier: Apache-2.0
#include "storage/page_store.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace sluice {
namespace {

void* Reserve(uint64_t bytes) {
  return mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
              -1, 0);
}

}  // namespace

absl::StatusOr<std::unique_ptr<PageStore>> PageStore::Create(uint64_t pages) {
  SLUICE_CHECK(pages > 0 && pages < UINT32_MAX - 1);
  const uint64_t entries = pages + 1;
  void* base = Reserve(entries * kPageBytes);
  void* holders = base == MAP_FAILED ? MAP_FAILED : Reserve(entries * sizeof(uint32_t));
  if (holders == MAP_FAILED) {
    const int error = errno;
    if (base != MAP_FAILED) munmap(base, entries * kPageBytes);
    return absl::ResourceExhaustedError(absl::StrCat("cannot reserve address space for ", pages,
                                                     " pages of memory: ", strerror(error)));
  }
  std::unique_ptr<PageStore> store(new PageStore);
  store->base_ = static_cast<char*>(base);
  store->holders_ = static_cast<uint32_t*>(holders);
  store->pages_ = pages;
  return store;
}

PageStore::~PageStore() {
  munmap(base_, (pages_ + 1) * kPageBytes);
  munmap(holders_, (pages_ + 1) * sizeof(uint32_t));
}

uint32_t PageStore::Take() noexcept {
  uint32_t page = free_;
  if (page != kNone) {
    free_ = holders_[page];
  } else {
    SLUICE_CHECK(fresh_ <= pages_);
    page = fresh_++;
  }
  holders_[page] = 1;
  ++used_;
  return page;
}

void PageStore::Drop(uint32_t page) noexcept {
  SLUICE_CHECK(page != kNone && holders_[page] > 0);
  if (--holders_[page] > 0) return;
  holders_[page] = free_;
  free_ = page;
  --used_;
}

}  // namespace sluice
