// SPDX-License-Identifier: Apache-2.0
// A small language for queue tests. A request is written "r8" (read of block 8), "w8" (write), with
// a class in front ("2r8", otherwise class 1) and a flow behind ("r8.3", otherwise flow 0); a list
// of them is separated by spaces. Blocks are 4 KiB, requests one block long.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "core/clock.h"
#include "storage/bufq.h"

namespace sluice {

inline constexpr uint32_t kBlock = 4096;

inline std::unique_ptr<Bufq> NewBufq(const std::string& name, const BufqOptions& options = {}) {
  auto queue = Bufq::Alloc(name, kBufqExact, options);
  EXPECT_TRUE(queue.ok()) << queue.status();
  return std::move(*queue);
}

// Requests for queues, which must be empty before it goes.
class Requests {
 public:
  Bio& Make(const std::string& text) {
    Bio& bio = bios_.emplace_back();
    std::istringstream in(text);
    if (std::isdigit(in.peek())) bio.prio = static_cast<uint8_t>(in.get() - '0');
    bio.op = in.get() == 'r' ? Op::kRead : Op::kWrite;
    in >> bio.offset;
    bio.offset *= kBlock;
    bio.length = kBlock;
    bio.born_ns = clock.NowNs();
    if (in.get() == '.') in >> bio.flow;
    names_[&bio] = text;
    return bio;
  }

  void Put(Bufq& queue, const std::string& list) {
    std::istringstream in(list);
    for (std::string text; in >> text;) queue.Put(Make(text));
  }

  // The next `count` requests as they were written.
  std::string Get(Bufq& queue, size_t count) {
    std::string list;
    for (size_t i = 0; i < count && !queue.empty(); ++i) {
      list += (i == 0 ? "" : " ") + names_.at(queue.Get(clock.NowNs()));
    }
    return list;
  }
  std::string GetAll(Bufq& queue) { return Get(queue, queue.size()); }

  const std::string& NameOf(const Bio& bio) const { return names_.at(&bio); }

  ManualClock clock;

 private:
  std::deque<Bio> bios_;
  std::map<const Bio*, std::string> names_;
};

}  // namespace sluice
