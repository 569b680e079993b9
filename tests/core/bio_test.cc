// SPDX-License-Identifier: Apache-2.0
#include "core/bio.h"

#include <string>

#include "tests/core/fakes.h"

namespace sluice {
namespace {

TEST(Bio, IsHandedToItsTargetAndReleasedOnceWhenDone) {
  ManualReactors reactors(1);
  HoldingTarget target(0);
  Fate fate;
  Bio* bio = new Request(fate, target);
  reactors.On(0, [&] { Submit(*bio); });
  ASSERT_TRUE(target.Holds(*bio));
  EXPECT_EQ(bio->pending, 1);
  EXPECT_EQ(bio->resid, 4096u);
  EXPECT_NE(bio->born_ns, 0u);
  EXPECT_EQ(fate.callbacks, 0);
  reactors.On(0, [&] { target.Complete(*bio); });
  EXPECT_EQ(fate.callbacks, 1);
  EXPECT_EQ(fate.error, 0);
  EXPECT_EQ(fate.released, 1);
  reactors.Settle();
  EXPECT_EQ(fate.released, 1);
}

TEST(Bio, NoCallbackRunsInsideSubmitOrDone) {
  ManualReactors reactors(1);
  InstantTarget target(kNoHome);
  Fate fate;
  reactors.On(0, [&] {
    Submit(*new Request(fate, target));
    EXPECT_EQ(fate.callbacks, 0);
    EXPECT_EQ(fate.released, 0);
  });
  EXPECT_EQ(fate.callbacks, 1);
  EXPECT_EQ(fate.released, 1);
}

// A callback that notes its name, and may push another.
struct Letter {
  Letter(std::string& order_in, char name_in, Letter* pushes_in = nullptr)
      : order(order_in), name(name_in), pushes(pushes_in) {
    callback.context = this;
    callback.run = [](Bio& bio, void* context) noexcept {
      auto& self = *static_cast<Letter*>(context);
      self.order += self.name;
      if (self.pushes != nullptr) PushCallback(bio, self.pushes->callback);
    };
  }
  std::string& order;
  char name;
  Letter* pushes;
  Callback callback;
};

TEST(Bio, TheLastPushedCallbackRunsFirstAndACallbackMayPushAnother) {
  ManualReactors reactors(1);
  HoldingTarget target(0);
  Fate fate;
  auto* bio = new Request(fate, target);
  std::string order;
  Letter a(order, 'a');
  Letter c(order, 'c');
  Letter b(order, 'b', &c);
  PushCallback(*bio, a.callback);
  PushCallback(*bio, b.callback);
  reactors.On(0, [&] { Submit(*bio); });
  reactors.On(0, [&] { target.Complete(*bio); });
  EXPECT_EQ(order, "bca");
  EXPECT_EQ(fate.callbacks, 1);
}

// Submits a new bio from the callback of the one before, to a target that answers at once.
struct Relay {
  explicit Relay(InstantTarget& to) : target(to) {}
  void Start() {
    auto* bio = new Request(fate, target);
    step.context = this;
    step.run = [](Bio&, void* context) noexcept {
      auto& self = *static_cast<Relay*>(context);
      if (self.goes_on) self.Start();
    };
    PushCallback(*bio, step);
    Submit(*bio);
  }
  InstantTarget& target;
  Fate fate;
  Callback step;
  bool goes_on = true;
};

TEST(Bio, CallbacksThatSubmitAnewForEverDoNotKeepTheTurnFromEnding) {
  ManualReactors reactors(1);
  InstantTarget target(kNoHome);
  Relay relay(target);
  reactors.On(0, [&] { relay.Start(); });
  const int before = relay.fate.released;
  EXPECT_TRUE(reactors.at(0).Turn());
  EXPECT_GT(relay.fate.released, before);
  relay.goes_on = false;
  reactors.Settle();
  EXPECT_EQ(relay.fate.callbacks, relay.fate.released);
}

// Splits what it gets into children of a fixed size for the target below, as a volume does.
class SplittingTarget : public HoldingTarget {
 public:
  SplittingTarget(uint16_t home, HoldingTarget& below, uint32_t piece)
      : HoldingTarget(home), below_(below), piece_(piece) {}
  void Strategy(Bio& bio) noexcept override {
    bio.where = Where::kNested;
    std::vector<Request*> children;
    for (uint32_t at = 0; at < bio.length; at += piece_) {
      children.push_back(new Request(child_fate, below_, std::min(piece_, bio.length - at)));
      Nest(bio, *children.back());
      children.back()->offset = bio.offset + at;
    }
    for (Request* child : children) Submit(*child);
    Done(bio, 0);
  }
  Fate child_fate;

 private:
  HoldingTarget& below_;
  uint32_t piece_;
};

TEST(BioNesting, AParentIsDoneWhenAllItsChildrenAreAndTheFirstErrorWins) {
  ManualReactors reactors(1);
  HoldingTarget disk(0);
  SplittingTarget volume(0, disk, 1000);
  Fate fate;
  auto* bio = new Request(fate, volume, 3500);
  bio->op = Op::kWrite;
  bio->flags = kFua | kBorrow;
  bio->prio = 2;
  bio->flow = 7;
  reactors.On(0, [&] { Submit(*bio); });
  ASSERT_EQ(disk.held.size(), 4u);
  for (const Bio* child : disk.held) {
    EXPECT_EQ(child->parent, bio);
    EXPECT_EQ(child->op, Op::kWrite);
    EXPECT_EQ(child->flags, kFua) << "what concerns the parent's own memory is not inherited";
    EXPECT_EQ(child->prio, 2);
    EXPECT_EQ(child->flow, 7);
    EXPECT_EQ(child->born_ns, bio->born_ns);
  }
  EXPECT_EQ(bio->pending, 4);
  reactors.On(0, [&] { disk.Complete(*disk.held[3]); });
  EXPECT_EQ(bio->finished, 1);
  EXPECT_EQ(bio->resid, 3000u);
  reactors.On(0, [&] { disk.Complete(*disk.held[1], ENOSPC); });
  reactors.On(0, [&] { disk.Complete(*disk.held[1], EIO); });
  EXPECT_EQ(bio->finished, 3);
  EXPECT_EQ(bio->resid, 3000u) << "a failed child transferred nothing";
  EXPECT_EQ(bio->pending, 1);
  EXPECT_EQ(fate.callbacks, 0);
  reactors.On(0, [&] { disk.Complete(*disk.held[0]); });
  EXPECT_EQ(fate.callbacks, 1);
  EXPECT_EQ(fate.error, ENOSPC);
  EXPECT_EQ(fate.released, 1);
  EXPECT_EQ(volume.child_fate.released, 4);
}

TEST(BioNesting, ChildrenThatAreDoneAtOnceDoNotCompleteTheParentEarly) {
  ManualReactors reactors(1);
  InstantTarget disk(kNoHome);
  SplittingTarget volume(0, disk, 512);
  Fate fate;
  reactors.On(0, [&] {
    Submit(*new Request(fate, volume));
    EXPECT_EQ(fate.callbacks, 0);
    EXPECT_EQ(volume.child_fate.callbacks, 0);
  });
  EXPECT_EQ(volume.child_fate.callbacks, 8);
  EXPECT_EQ(fate.callbacks, 1);
  EXPECT_EQ(fate.error, 0);
}

TEST(BioNesting, AChildThatWasNeverSubmittedStillComesHomeWhereItWasNested) {
  ManualReactors reactors(2);
  HoldingTarget volume(1);
  HoldingTarget disk(1);
  Fate fate;
  Fate child_fate;
  auto* bio = new Request(fate, volume);
  reactors.On(0, [&] { Submit(*bio); });
  reactors.Settle();
  reactors.On(1, [&] {
    auto* child = new Request(child_fate, disk);
    Nest(*bio, *child);
    Done(*child, ENOMEM);
    volume.Complete(*bio);
  });
  EXPECT_EQ(child_fate.released, 1);
  reactors.Settle();
  EXPECT_EQ(fate.error, ENOMEM);
}

TEST(BioNesting, ALongChainOfParentsClimbsWithoutRecursion) {
  ManualReactors reactors(1);
  InstantTarget disk(0);
  HoldingTarget volume(0);
  constexpr int kDepth = 100'000;  // far beyond what the stack would hold
  std::vector<Fate> fates(kDepth + 1);
  reactors.On(0, [&] {
    Bio* parent = new Request(fates[0], volume);
    Submit(*parent);
    for (int i = 1; i <= kDepth; ++i) {
      auto* child = new Request(fates[i], disk);
      Nest(*parent, *child);
      if (i > 1) Done(*parent, 0);
      parent = child;
    }
    parent->resid = 0;
    Done(*parent, EIO);
    volume.Complete(*volume.held[0]);
  });
  reactors.Settle();
  for (const Fate& fate : fates) {
    ASSERT_EQ(fate.released, 1);
    ASSERT_EQ(fate.error, EIO);
  }
}

TEST(BioCrossing, CallbacksAndReleaseRunOnTheHomeReactor) {
  ManualReactors reactors(2);
  HoldingTarget target(1);
  Fate fate;
  auto* bio = new Request(fate, target);
  uint16_t ran_on = 99;
  Callback where{
      [](Bio&, void* on) noexcept { *static_cast<uint16_t*>(on) = Reactor::Current()->id(); },
      &ran_on};
  PushCallback(*bio, where);
  reactors.On(0, [&] { Submit(*bio); });
  EXPECT_TRUE(target.held.empty());
  EXPECT_EQ(bio->where, Where::kMailbox);
  reactors.at(1).Turn();
  ASSERT_EQ(target.held.size(), 1u);
  reactors.On(1, [&] { target.Complete(*bio); });
  EXPECT_EQ(fate.callbacks, 0);
  reactors.at(0).Turn();
  EXPECT_EQ(ran_on, 0);
  EXPECT_EQ(fate.released, 1);
}

TEST(BioCrossing, ChildrenComeHomeToTheReactorThatNestedThem) {
  ManualReactors reactors(3);
  HoldingTarget disk(2);
  SplittingTarget volume(1, disk, 1024);
  Fate fate;
  auto* bio = new Request(fate, volume);
  reactors.On(0, [&] { Submit(*bio); });
  reactors.Settle();
  ASSERT_EQ(disk.held.size(), 4u);
  EXPECT_EQ(disk.held[0]->home, 1);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(fate.callbacks, 0);
    reactors.On(2, [&] { disk.Complete(*disk.held.back(), i == 1 ? EIO : 0); });
    reactors.Settle();
  }
  EXPECT_EQ(fate.error, EIO);
  EXPECT_EQ(fate.released, 1);
  EXPECT_EQ(volume.child_fate.released, 4);
}

}  // namespace
}  // namespace sluice
