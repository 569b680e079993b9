// SPDX-License-Identifier: Apache-2.0
// What an NBD session counts.
#include <gtest/gtest.h>

#include "tests/server/session_client.h"

namespace sluice::nbd {
namespace {

SessionSetup Everything() {
  SessionSetup setup;
  setup.info.can_trim = setup.info.can_zero = true;
  return setup;
}

TEST(SessionStats, EveryRequestIsCountedByItsKindAndTimedOnce) {
  SessionWire wire(Everything());
  for (const Command command : {Command::kRead, Command::kWrite, Command::kFlush, Command::kTrim,
                                Command::kWriteZeroes, Command::kCache, static_cast<Command>(99)}) {
    wire.Ask(command, 0, command == Command::kFlush ? 0 : 4096);
  }
  for (const RequestKind kind :
       {RequestKind::kRead, RequestKind::kWrite, RequestKind::kFlush, RequestKind::kTrim,
        RequestKind::kZero, RequestKind::kCache, RequestKind::kUnknown}) {
    EXPECT_EQ(wire.stats.of(kind).requests.value(), 1u) << static_cast<int>(kind);
    EXPECT_EQ(wire.stats.of(kind).total_ns.count(), 1u) << static_cast<int>(kind);
  }
  EXPECT_EQ(wire.stats.errors.of(static_cast<int>(Error::kInval)), 1u);
  EXPECT_EQ(wire.stats.errors.total(), 1u);
  EXPECT_EQ(wire.stats.dropped.value(), 0u);
}

TEST(SessionStats, WhatIsNotAnsweredAnyMoreIsDropped) {
  SessionWire wire;
  wire.target->hold = true;
  wire.Put(RequestBytes(Command::kRead, 1, 0, 4096));
  wire.Put(RequestBytes(Command::kWrite, 2, 0, 4096));  // its payload never comes
  wire.Pump();
  wire.Abandon();
  EXPECT_EQ(wire.stats.of(RequestKind::kRead).requests.value(), 1u);
  EXPECT_EQ(wire.stats.of(RequestKind::kWrite).requests.value(), 1u);
  EXPECT_EQ(wire.stats.dropped.value(), 2u);
  EXPECT_EQ(wire.stats.of(RequestKind::kRead).total_ns.count(), 0u);
  wire.On([&] { wire.target->FinishAll(); });
}

}  // namespace
}  // namespace sluice::nbd
