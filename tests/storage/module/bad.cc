// SPDX-License-Identifier: Apache-2.0
// A module that is right but for what its target defines otherwise (CMakeLists.txt).
#include "storage/bufq.h"

#ifndef ABI
#define ABI kBufqAbi
#endif
#ifndef BIO_SIZE
#define BIO_SIZE sizeof(Bio)
#endif
#ifndef MAKE
#define MAKE MakeNothing
#endif
#ifndef SYMBOL
#define SYMBOL sluice_bufq_module
#endif

namespace sluice {

std::unique_ptr<BufqPolicy> MakeNothing(const BufqOptions&);
std::unique_ptr<BufqPolicy> MakeNothing(const BufqOptions&) { return nullptr; }
std::unique_ptr<BufqPolicy> DefinedNowhere(const BufqOptions&);

extern "C" const BufqModule SYMBOL;
extern "C" const BufqModule SYMBOL = {ABI, BIO_SIZE, {NAME, "refused", MAKE}};

}  // namespace sluice
