// SPDX-License-Identifier: Apache-2.0
// Which reactor serves a connection. Decided once, when it was admitted; it stays there.
//
// Every request of a connection that lives elsewhere crosses to the home of its export and back: a
// wake and a hop each way, a copy where the home would have lent its pages, and fewer requests in
// each batch. So connections share the home while that keeps up, and only those that arrive while
// it does not go elsewhere.
//
// Measured on two cores, the client on one of them, 4 connections at depth 32, all on the home
// against half of them on the other reactor; thousands of 4 KiB requests a second and server CPU
// microseconds a request:
//   null    read  1235 at 0.77 against 1126 at 0.94   write 1351 at 0.71 against 1224 at 0.98
//   memory  read  1055 at 0.83 against  975 at 1.15   write  340 at 2.04 against  413 at 2.24
//   file    random: the device is the limit (76 read, 86 write), the home about half busy
// What another reactor adds is worth it only where it has a core of its own, and only for work that
// fills the home. Hence no connection is moved once it is placed: those that were opened together,
// before there was a load to see, lose nothing by it here.
#pragma once

#include <cstdint>

#include "core/reactor.h"

namespace sluice::nbd {

// The export's home, unless its load over the last 100 ms is above this; then the least busy
// reactor, if that is at most half as busy.
inline constexpr uint32_t kBusyPercent = 75;

// Any thread.
uint16_t PlaceConnection(ReactorSet& reactors, uint16_t home);

}  // namespace sluice::nbd
