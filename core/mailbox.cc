// SPDX-License-Identifier: Apache-2.0
#include "core/mailbox.h"

#include <bit>

namespace sluice {

Mailbox::Mailbox(size_t capacity)
    : mask_(std::bit_ceil(capacity) - 1), slots_(new uintptr_t[std::bit_ceil(capacity)]) {}

}  // namespace sluice
