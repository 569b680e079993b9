// SPDX-License-Identifier: Apache-2.0
// What the library shows of itself. All else in it is hidden, so that a program may link another
// version of whatever the library uses.
#pragma once

#define SLUICE_SDK_VERSION 1
#define SLUICE_API [[gnu::visibility("default")]]
// The inline namespace changes whenever an old binary would no longer fit.
#define SLUICE_SDK_BEGIN \
  namespace sluice {     \
  inline namespace sdk_v1 {
#define SLUICE_SDK_END \
  }                    \
  }
