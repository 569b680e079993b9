// SPDX-License-Identifier: Apache-2.0
// Queries that cross between reactors.
#include "core/target.h"

#include <vector>

#include "tests/core/fakes.h"

namespace sluice {
namespace {

// Keeps a query until its reactor's next turn, and notes where it was asked.
class AskedTarget final : public HoldingTarget {
 public:
  using HoldingTarget::HoldingTarget;
  void QueryExtents(ExtentQuery& query) noexcept override {
    asked_on = Reactor::Current()->id();
    query.extents = {{query.length, true, true}};
    Reactor::Current()->Post([&query] { query.done(query); });
  }
  int asked_on = -1;
};

struct Asked {
  ExtentQuery query;
  int answers = 0;
  int answered_on = -1;

  explicit Asked(uint64_t length) {
    query.length = length;
    query.context = this;
    query.done = [](ExtentQuery& done) noexcept {
      auto& self = *static_cast<Asked*>(done.context);
      ++self.answers;
      self.answered_on = Reactor::Current()->id();
    };
  }
};

TEST(AskExtents, AsksOnTheTargetsReactorAndAnswersOnTheAskers) {
  ManualReactors reactors(3);
  for (const uint16_t home : {uint16_t{0}, uint16_t{1}, kNoHome}) {
    AskedTarget target(home);
    Asked asked(4096);
    reactors.On(1, [&] { AskExtents(target, asked.query); });
    EXPECT_EQ(asked.answers, 0) << "from inside";
    reactors.Settle();
    EXPECT_EQ(target.asked_on, home == kNoHome ? 1 : home);
    EXPECT_EQ(asked.answers, 1);
    EXPECT_EQ(asked.answered_on, 1);
    ASSERT_EQ(asked.query.extents.size(), 1u);
    EXPECT_EQ(asked.query.extents[0].length, 4096u);
  }
}

// All bios that live on one reactor may hang at once, whoever's doors reserved them: children of
// every reactor's requests do where their disk is.
TEST(Mail, AReactorMayTellItselfOfEveryBioThatLivesThere) {
  ReactorOptions options = SmallOptions();
  options.credits = 4;
  constexpr uint16_t kReactors = 16;
  ManualReactors reactors(kReactors, options);
  HoldingTarget target(0);
  std::vector<Fate> fates(size_t{options.credits} * kReactors);
  reactors.On(0, [&] {
    for (Fate& fate : fates) Submit(*new Request(fate, target));
    for (Bio* bio : target.held) Expire(*bio, EIO);
  });
  reactors.Settle();
  for (const Fate& fate : fates) EXPECT_EQ(fate.error, EIO);
  reactors.On(0, [&] {
    while (!target.held.empty()) target.Complete(*target.held.front());
  });
  reactors.Settle();
  for (const Fate& fate : fates) EXPECT_EQ(fate.released, 1);
}

}  // namespace
}  // namespace sluice
