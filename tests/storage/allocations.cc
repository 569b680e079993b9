// SPDX-License-Identifier: Apache-2.0
#include "tests/storage/allocations.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<uint64_t> g_allocations{0};

void* TryAllocate(size_t size, size_t align) noexcept {
  g_allocations.fetch_add(1, std::memory_order_relaxed);
  return std::aligned_alloc(align, (size + align - 1) / align * align);
}

void* Allocate(size_t size, size_t align) {
  void* memory = TryAllocate(size, align);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

namespace sluice {

uint64_t Allocations() noexcept { return g_allocations.load(std::memory_order_relaxed); }

}  // namespace sluice

void* operator new(size_t size) { return Allocate(size, __STDCPP_DEFAULT_NEW_ALIGNMENT__); }
void* operator new(size_t size, std::align_val_t align) {
  return Allocate(size, static_cast<size_t>(align));
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return TryAllocate(size, __STDCPP_DEFAULT_NEW_ALIGNMENT__);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
