// SPDX-License-Identifier: Apache-2.0
// What is in flight at a disk, by where it begins and ends: finds the operation that a new run
// touches. The disk's reactor; no allocation.
#pragma once

#include <boost/intrusive/set.hpp>
#include <cstdint>

namespace sluice {

// An operation in flight; its owner's record derives from it.
struct Flight {
  boost::intrusive::set_member_hook<> by_begin;
  boost::intrusive::set_member_hook<> by_end;
  uint32_t run_class = 0;  // Gather::ClassOf()
  uint64_t begin = 0;      // bytes
  uint64_t end = 0;
};

class FlightIndex {
 public:
  void Insert(Flight& flight) noexcept;
  void Erase(Flight& flight) noexcept;  // nothing if it is not in here
  bool Holds(const Flight& flight) const noexcept { return flight.by_end.is_linked(); }
  bool empty() const noexcept { return by_end_.empty(); }

  // The flight of the class that ends at `begin`, or else one that begins at `end`; null if none
  // does.
  Flight* FindNeighbour(uint32_t run_class, uint64_t begin, uint64_t end) noexcept;

 private:
  struct Place {
    uint32_t run_class;
    uint64_t at;
    friend bool operator<(const Place& a, const Place& b) {
      return a.run_class != b.run_class ? a.run_class < b.run_class : a.at < b.at;
    }
  };
  template <uint64_t Flight::*End>
  struct PlaceOf {
    using type = Place;
    Place operator()(const Flight& flight) const { return {flight.run_class, flight.*End}; }
  };
  template <boost::intrusive::set_member_hook<> Flight::*Hook, uint64_t Flight::*End>
  using Tree = boost::intrusive::multiset<
      Flight, boost::intrusive::member_hook<Flight, boost::intrusive::set_member_hook<>, Hook>,
      boost::intrusive::key_of_value<PlaceOf<End>>, boost::intrusive::constant_time_size<false>>;

  Tree<&Flight::by_begin, &Flight::begin> by_begin_;
  Tree<&Flight::by_end, &Flight::end> by_end_;
};

}  // namespace sluice
