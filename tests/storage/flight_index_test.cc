// SPDX-License-Identifier: Apache-2.0
#include "storage/flight_index.h"

#include <gtest/gtest.h>

#include <list>

namespace sluice {
namespace {

class FlightIndexTest : public testing::Test {
 protected:
  ~FlightIndexTest() override {
    for (Flight& flight : flights_) index_.Erase(flight);
    EXPECT_TRUE(index_.empty());
  }
  static void Place(Flight& flight, uint64_t begin, uint64_t end, uint32_t requests,
                    uint32_t run_class) {
    flight.begin = begin;
    flight.end = end;
    flight.requests = requests;
    flight.run_class = run_class;
  }
  Flight& Fly(uint64_t begin, uint64_t end, uint32_t requests = 1, uint32_t run_class = 1) {
    Flight& flight = flights_.emplace_back();
    Place(flight, begin, end, requests, run_class);
    index_.Insert(flight);
    return flight;
  }
  Flight* Stream(uint64_t begin, uint64_t end, uint32_t min, uint32_t run_class = 1) {
    Flight run;
    Place(run, begin, end, 1, run_class);
    return index_.FindStream(run, min);
  }

  FlightIndex index_;
  std::list<Flight> flights_;
};

TEST_F(FlightIndexTest, CountsBackwardsWhatIsContiguous) {
  Fly(0, 1);
  Fly(1, 3, 2);
  Flight& last = Fly(3, 4);
  EXPECT_EQ(Stream(4, 5, 5), &last);
  EXPECT_EQ(Stream(4, 5, 6), nullptr);
  EXPECT_EQ(Stream(5, 6, 2), nullptr) << "a gap";
}

TEST_F(FlightIndexTest, CountsForwardsForAStreamThatDescends) {
  Flight& next = Fly(10, 11);
  Fly(11, 12);
  EXPECT_EQ(Stream(9, 10, 3), &next);
  EXPECT_EQ(Stream(9, 10, 4), nullptr);
}

TEST_F(FlightIndexTest, CountsBothSidesAndPrefersTheOneBelow) {
  Flight& below = Fly(0, 5, 3);
  Fly(6, 9, 3);
  EXPECT_EQ(Stream(5, 6, 7), &below);
  EXPECT_EQ(Stream(5, 6, 8), nullptr);
}

TEST_F(FlightIndexTest, ARunThatIsABusyStreamItselfStillMeetsItsNeighbour) {
  Flight& below = Fly(0, 5);
  Flight run;
  Place(run, 5, 6, 8, 1);
  EXPECT_EQ(index_.FindStream(run, 8), &below);
  Place(run, 6, 7, 8, 1);
  EXPECT_EQ(index_.FindStream(run, 8), nullptr);
}

TEST_F(FlightIndexTest, OtherClassesAreOtherStreams) {
  Fly(0, 5, 9, 2);
  EXPECT_EQ(Stream(5, 6, 2), nullptr);
  EXPECT_NE(Stream(5, 6, 2, 2), nullptr);
}

TEST_F(FlightIndexTest, WhatLandedIsNoLongerThere) {
  Flight& flight = Fly(0, 5, 9);
  index_.Erase(flight);
  EXPECT_FALSE(index_.Holds(flight));
  EXPECT_EQ(Stream(5, 6, 2), nullptr);
}

}  // namespace
}  // namespace sluice
