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
  Flight& Fly(uint64_t begin, uint64_t end, uint32_t run_class = 1) {
    Flight& flight = flights_.emplace_back();
    flight.begin = begin;
    flight.end = end;
    flight.run_class = run_class;
    index_.Insert(flight);
    return flight;
  }

  FlightIndex index_;
  std::list<Flight> flights_;
};

TEST_F(FlightIndexTest, FindsWhatARunContinues) {
  Flight& flight = Fly(4, 8);
  EXPECT_EQ(index_.FindNeighbour(1, 8, 9), &flight);
  EXPECT_EQ(index_.FindNeighbour(1, 9, 10), nullptr) << "a gap";
}

TEST_F(FlightIndexTest, FindsWhatAStreamThatDescendsContinues) {
  Flight& flight = Fly(4, 8);
  EXPECT_EQ(index_.FindNeighbour(1, 3, 4), &flight);
  EXPECT_EQ(index_.FindNeighbour(1, 2, 3), nullptr) << "a gap";
}

TEST_F(FlightIndexTest, PrefersTheOneBelow) {
  Flight& below = Fly(0, 5);
  Fly(6, 9);
  EXPECT_EQ(index_.FindNeighbour(1, 5, 6), &below);
}

TEST_F(FlightIndexTest, OtherClassesAreNoNeighbours) {
  Flight& flight = Fly(0, 5, 2);
  EXPECT_EQ(index_.FindNeighbour(1, 5, 6), nullptr);
  EXPECT_EQ(index_.FindNeighbour(2, 5, 6), &flight);
}

TEST_F(FlightIndexTest, WhatLandedIsNoLongerThere) {
  Flight& flight = Fly(0, 5);
  index_.Erase(flight);
  EXPECT_FALSE(index_.Holds(flight));
  EXPECT_EQ(index_.FindNeighbour(1, 5, 6), nullptr);
}

}  // namespace
}  // namespace sluice
