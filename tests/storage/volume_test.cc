// SPDX-License-Identifier: Apache-2.0
// The splitter over legs that do what they are told.
#include "storage/volume.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/storage/fake_target.h"

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::Field;
using testing::SizeIs;

constexpr uint32_t kChunk = 4096;

class VolumeTest : public testing::Test {
 protected:
  ~VolumeTest() override {
    volume.reset();
    EXPECT_EQ(world.CellsUsed(), 0u) << "a child was not given back";
  }

  std::vector<Target*> MakeLegs(const std::vector<uint64_t>& sizes) {
    std::vector<Target*> targets;
    for (const uint64_t size : sizes) {
      legs.push_back(std::make_unique<FakeTarget>(size, home));
      targets.push_back(legs.back().get());
    }
    return targets;
  }
  void Make(absl::StatusOr<std::unique_ptr<const Geometry>> geometry,
            const std::vector<uint64_t>& sizes) {
    ASSERT_TRUE(geometry.ok()) << geometry.status();
    volume = std::make_unique<Volume>(*std::move(geometry), MakeLegs(sizes), home);
  }
  void MakeStripeOf(const std::vector<uint64_t>& sizes) { Make(MakeStripe(sizes, kChunk), sizes); }
  void MakeConcatOf(const std::vector<uint64_t>& sizes) { Make(MakeConcat(sizes), sizes); }

  void Go(Request& request) {
    world.On(0, [&] { Submit(request.bio()); });
  }
  void HoldAll(bool at_device = false) {
    for (auto& leg : legs) {
      leg->hold = true;
      leg->at_device = at_device;
    }
  }
  void End(FakeTarget& leg, int error = 0) {
    ASSERT_EQ(leg.held.size(), 1u);
    world.On(leg.home(), [&] { leg.End(*leg.held[0], error); });
  }

  uint16_t home = 0;
  World world{2};
  std::vector<std::unique_ptr<FakeTarget>> legs;
  std::unique_ptr<Volume> volume;
};

TEST_F(VolumeTest, ChildrenAreAllMadeBeforeOneIsSubmitted) {
  MakeStripeOf({8 * kChunk, 8 * kChunk, 8 * kChunk});  // legs that answer inside Strategy()
  Request write(*volume, Op::kWrite, 0, 6 * kChunk);
  Go(write);
  EXPECT_TRUE(write.done());
  // The volume's own hold and three children, though the first had ended when the last was
  // submitted.
  EXPECT_EQ(legs[0]->arrivals[0].parents_pending, 4u);
  EXPECT_EQ(write.bio().finished, 3u);
  EXPECT_EQ(write.bio().resid, 0u);
}

TEST_F(VolumeTest, AnyRangeMakesAtMostOneChildALeg) {
  MakeStripeOf({8 * kChunk, 8 * kChunk, 8 * kChunk});
  for (uint64_t offset = 0; offset < 24 * kChunk; offset += 512 * 5) {
    for (uint32_t length = 512; length <= 24 * kChunk - offset; length += 512 * 7) {
      for (auto& leg : legs) leg->arrivals.clear();
      Request read(*volume, Op::kRead, offset, length);
      Go(read);
      ASSERT_TRUE(read.done());
      uint64_t bytes = 0;
      for (auto& leg : legs) {
        ASSERT_LE(leg->arrivals.size(), 1u);
        for (const auto& arrival : leg->arrivals) bytes += arrival.length;
      }
      ASSERT_EQ(bytes, length);
    }
  }
}

TEST_F(VolumeTest, AChildOfOnePieceViewsItsParentsVector) {
  MakeConcatOf({8 * kChunk, 8 * kChunk});
  HoldAll();
  Request write(*volume, Op::kWrite, 7 * kChunk, 2 * kChunk);
  write.Cut({512, 3 * 512, 8 * 512, 4 * 512});
  Go(write);
  const Bio& left = *legs[0]->held[0];
  const Bio& right = *legs[1]->held[0];
  EXPECT_EQ(left.segs, write.segs.data());
  EXPECT_EQ(left.seg_count, 3u);
  EXPECT_EQ(left.seg_skip, 0u);
  EXPECT_EQ(right.segs, write.segs.data() + 2);
  EXPECT_EQ(right.seg_skip, 4u * 512);
  EXPECT_EQ(right.seg_count, 2u);
  End(*legs[0]);
  EXPECT_EQ(write.callbacks, 0);
  End(*legs[1]);
  EXPECT_TRUE(write.done());
}

TEST_F(VolumeTest, AViewOfAViewSkipsInsideASegment) {
  MakeConcatOf({8 * kChunk, 8 * kChunk});
  auto slice = std::make_unique<Volume>(std::move(*MakeSlice(16 * kChunk, 512, 15 * kChunk)),
                                        std::vector<Target*>{volume.get()}, home);
  Request write(*slice, Op::kWrite, 8 * kChunk - 1024, 1024);
  write.Fill(3);
  Go(write);
  EXPECT_TRUE(write.done());
  for (uint32_t i = 0; i < 1024; ++i) {
    const uint64_t below = 8 * kChunk - 512 + i;
    const char got =
        below < 8 * kChunk ? legs[0]->bytes[below] : legs[1]->bytes[below - 8 * kChunk];
    ASSERT_EQ(got, PatternAt(8 * kChunk - 1024 + i, 3)) << i;
  }
}

TEST_F(VolumeTest, NoDataIsCopied) {
  MakeStripeOf({16 * kChunk, 16 * kChunk});
  HoldAll();
  Request write(*volume, Op::kWrite, 512, 20 * kChunk);  // more pieces than a cell has segments
  Go(write);
  for (auto& leg : legs) {
    const Bio& child = *leg->held[0];
    EXPECT_GT(child.seg_count, kInlineSegments);
    uint64_t bytes = 0;
    for (uint16_t i = 0; i < child.seg_count; ++i) {
      const auto* base = static_cast<char*>(child.segs[i].iov_base);
      EXPECT_GE(base, write.memory.data());
      EXPECT_LE(base + child.segs[i].iov_len, write.memory.data() + write.memory.size());
      bytes += child.segs[i].iov_len;
    }
    EXPECT_EQ(bytes, child.length);
  }
  End(*legs[0]);
  End(*legs[1]);
  EXPECT_TRUE(write.done());
}

TEST_F(VolumeTest, AShortStripeNeedsNoListOfItsOwn) {
  MakeStripeOf({16 * kChunk, 16 * kChunk});
  HoldAll();
  Request write(*volume, Op::kWrite, 0, 4 * kChunk);
  Go(write);
  for (auto& leg : legs) {
    const auto& cell = reinterpret_cast<const BioCell&>(*leg->held[0]);
    EXPECT_EQ(cell.bio.segs, cell.segs);
    EXPECT_EQ(cell.bio.seg_count, 2u);
  }
  End(*legs[0]);
  End(*legs[1]);
}

TEST_F(VolumeTest, FlushGoesToEveryLeg) {
  MakeConcatOf({kChunk, kChunk, kChunk});
  Request flush(*volume, Op::kFlush, 0, 0);
  Go(flush);
  EXPECT_TRUE(flush.done());
  for (auto& leg : legs) {
    EXPECT_THAT(leg->arrivals, ElementsAre(Field(&FakeTarget::Arrival::op, Op::kFlush)));
  }
}

TEST_F(VolumeTest, FlagsAndClassAreInherited) {
  MakeStripeOf({4 * kChunk, 4 * kChunk});
  HoldAll();
  Request write(*volume, Op::kWrite, 0, 2 * kChunk, kFua | kNoGather);
  write.bio().prio = 2;
  write.bio().flow = 7;
  Go(write);
  for (auto& leg : legs) {
    EXPECT_EQ(leg->held[0]->flags, kFua | kNoGather);
    EXPECT_EQ(leg->held[0]->prio, 2u);
    EXPECT_EQ(leg->held[0]->flow, 7u);
    EXPECT_EQ(leg->held[0]->born_ns, write.bio().born_ns);
    End(*leg);
  }
}

TEST_F(VolumeTest, EffectsWithoutDataAreSplitToo) {
  MakeStripeOf({8 * kChunk, 8 * kChunk});
  for (const Op op : {Op::kTrim, Op::kZero, Op::kCache}) {
    for (auto& leg : legs) leg->arrivals.clear();
    Request request(*volume, op, 3 * kChunk, 8 * kChunk);
    Go(request);
    EXPECT_TRUE(request.done());
    EXPECT_THAT(legs[0]->arrivals,
                ElementsAre(FakeTarget::Arrival{op, 2 * kChunk, 4 * kChunk, 0, 3}));
    EXPECT_THAT(legs[1]->arrivals, SizeIs(1));
    EXPECT_EQ(legs[1]->arrivals[0].offset, 1u * kChunk);
    EXPECT_EQ(legs[1]->arrivals[0].length, 4u * kChunk);
  }
}

TEST_F(VolumeTest, R19AnErrorIsAnsweredOnlyWhenAllPartsHaveSettled) {
  for (size_t guilty = 0; guilty < 3; ++guilty) {
    legs.clear();
    MakeStripeOf({4 * kChunk, 4 * kChunk, 4 * kChunk});
    HoldAll();
    Request write(*volume, Op::kWrite, 0, 3 * kChunk);
    Go(write);
    End(*legs[guilty], EIO);
    EXPECT_EQ(write.callbacks, 0);
    for (size_t leg = 0; leg < 3; ++leg) {
      if (leg == guilty) continue;
      EXPECT_EQ(write.callbacks, 0);
      End(*legs[leg]);
    }
    EXPECT_TRUE(write.done());
    EXPECT_EQ(write.error(), EIO);
    volume.reset();
  }
}

TEST_F(VolumeTest, R19TheFirstErrorWins) {
  MakeStripeOf({4 * kChunk, 4 * kChunk, 4 * kChunk});
  HoldAll();
  Request write(*volume, Op::kWrite, 0, 3 * kChunk);
  Go(write);
  End(*legs[2], ENOSPC);
  End(*legs[0], EIO);
  End(*legs[1]);
  EXPECT_EQ(write.error(), ENOSPC);
  EXPECT_TRUE(write.done());
}

TEST_F(VolumeTest, R19ABadLegFailsOnlyWhatTouchesIt) {
  MakeStripeOf({4 * kChunk, 4 * kChunk});
  legs[1]->error = EIO;
  Request good(*volume, Op::kRead, 0, kChunk);
  Request bad(*volume, Op::kRead, 0, kChunk + 512);
  Request flush(*volume, Op::kFlush, 0, 0);
  Go(good);
  Go(bad);
  Go(flush);
  EXPECT_EQ(good.error(), 0);
  EXPECT_EQ(bad.error(), EIO);
  EXPECT_EQ(flush.error(), EIO);
}

TEST_F(VolumeTest, AbandonCancelsTheChildrenOfThatRequestAlone) {
  MakeStripeOf({8 * kChunk, 8 * kChunk});
  HoldAll();
  Request gone(*volume, Op::kWrite, 0, 2 * kChunk);
  Request stays(*volume, Op::kWrite, 4 * kChunk, 2 * kChunk);
  Go(gone);
  Go(stays);
  world.On(0, [&] { Abandon(gone.bio()); });
  EXPECT_EQ(gone.callbacks, 0);
  EXPECT_EQ(gone.releases, 1);
  EXPECT_EQ(stays.callbacks, 0);
  End(*legs[0]);
  End(*legs[1]);
  EXPECT_TRUE(stays.done());
  EXPECT_EQ(stays.error(), 0);
}

TEST_F(VolumeTest, AnAbandonedRequestIsReleasedWhenItsLastChildIsBack) {
  MakeStripeOf({8 * kChunk, 8 * kChunk});
  HoldAll(/*at_device=*/true);
  Request gone(*volume, Op::kWrite, 0, 2 * kChunk);
  Go(gone);
  world.On(0, [&] { Abandon(gone.bio()); });
  EXPECT_EQ(legs[0]->cancels + legs[1]->cancels, 2);
  EXPECT_EQ(gone.releases, 0);
  End(*legs[0]);
  EXPECT_EQ(gone.releases, 0);
  End(*legs[1]);
  EXPECT_EQ(gone.releases, 1);
  EXPECT_EQ(gone.callbacks, 0);
}

class AwayVolumeTest : public VolumeTest {
 protected:
  AwayVolumeTest() { home = 1; }
};

TEST_F(AwayVolumeTest, ARequestFromAnotherReactorIsSplitAtHome) {
  MakeStripeOf({8 * kChunk, 8 * kChunk});
  Request write(*volume, Op::kWrite, 512, 6 * kChunk);
  write.Fill(1);
  Go(write);
  EXPECT_TRUE(write.done());
  Request read(*volume, Op::kRead, 512, 6 * kChunk);
  Go(read);
  EXPECT_EQ(read.memory, write.memory);
}

TEST_F(AwayVolumeTest, AnotherReactorMayAbandon) {
  MakeStripeOf({8 * kChunk, 8 * kChunk});
  HoldAll();
  Request gone(*volume, Op::kWrite, 0, 4 * kChunk);
  Go(gone);
  world.On(0, [&] { Abandon(gone.bio()); });
  EXPECT_EQ(gone.releases, 1);
  EXPECT_EQ(gone.callbacks, 0);
}

TEST_F(VolumeTest, LimitsAreWhatAllLegsCanKeep) {
  std::vector<Target*> targets = MakeLegs({8 * kChunk, 8 * kChunk});
  Limits& a = legs[0]->mutable_limits();
  Limits& b = legs[1]->mutable_limits();
  a.block = 4096;
  a.can_trim = false;
  a.children = 3;
  a.lend_bytes_max = 65536;
  b.rotational = true;
  b.preferred = 16384;
  b.children = 2;
  b.read_only = true;
  volume = std::make_unique<Volume>(*MakeConcat({8 * kChunk, 8 * kChunk}), targets, home);
  const Limits& limits = volume->limits();
  EXPECT_EQ(limits.size, 16u * kChunk);
  EXPECT_EQ(limits.block, 4096u);
  EXPECT_EQ(limits.preferred, 16384u);
  EXPECT_EQ(limits.children, 7u);  // two children, and three and two below them
  EXPECT_EQ(limits.lend_bytes_max, 0u);
  EXPECT_FALSE(limits.can_trim);
  EXPECT_TRUE(limits.rotational);
  EXPECT_TRUE(limits.read_only);
}

// Extents in chunks: "data", "hole", ... Compared as text.
class ExtentsTest : public VolumeTest {
 protected:
  static Extent Data(uint64_t chunks) { return {chunks * kChunk, false, false}; }
  static Extent Hole(uint64_t chunks) { return {chunks * kChunk, true, true}; }
  static std::string Text(const std::vector<Extent>& extents) {
    std::string text;
    for (const Extent& extent : extents) {
      text += (extent.hole ? "h" : "d") + std::to_string(extent.length / kChunk) + " ";
    }
    return text;
  }
  std::string Ask(uint64_t chunk, uint64_t chunks, uint32_t extents_max,
                  const std::vector<std::vector<Extent>>& answers, int error = 0) {
    ExtentQuery query;
    query.offset = chunk * kChunk;
    query.length = chunks * kChunk;
    query.extents_max = extents_max;
    int done = 0;
    query.context = &done;
    query.done = [](ExtentQuery& ended) noexcept { ++*static_cast<int*>(ended.context); };
    world.On(0, [&] { volume->QueryExtents(query); });
    EXPECT_EQ(done, 0) << "done inside the call";
    for (size_t leg = 0; leg < legs.size(); ++leg) {
      if (legs[leg]->queries.empty()) continue;
      ExtentQuery& part = *std::exchange(legs[leg]->queries, {})[0];
      if (error != 0 && leg == 0) {
        part.error = error;
      } else {
        part.extents = answers[leg];
      }
      world.On(0, [&] { part.done(part); });
    }
    EXPECT_EQ(done, 1);
    return query.error != 0 ? "error " + std::to_string(query.error) : Text(query.extents);
  }
};

TEST_F(ExtentsTest, LegsAnswersAreDealtBackInVolumeOrder) {
  MakeStripeOf({4 * kChunk, 4 * kChunk});
  EXPECT_EQ(Ask(0, 8, 100, {{Data(2), Hole(2)}, {Data(3), Hole(1)}}), "d4 h1 d1 h2 ");
  EXPECT_EQ(Ask(0, 8, 100, {{Data(4)}, {Hole(4)}}), "d1 h1 d1 h1 d1 h1 d1 h1 ");
  EXPECT_EQ(Ask(0, 8, 100, {{Data(4)}, {Data(4)}}), "d8 ");
  EXPECT_EQ(Ask(3, 2, 100, {{Hole(1)}, {Hole(1)}}), "h2 ");
}

TEST_F(ExtentsTest, NeighboursOfDifferentLegsJoin) {
  MakeConcatOf({4 * kChunk, 4 * kChunk});
  EXPECT_EQ(Ask(2, 4, 1, {{Hole(2)}, {Hole(1), Data(1)}}), "h3 ");
}

TEST_F(ExtentsTest, TheAnswerIsCapped) {
  MakeStripeOf({4 * kChunk, 4 * kChunk});
  EXPECT_EQ(Ask(0, 8, 3, {{Data(4)}, {Hole(4)}}), "d1 h1 d1 ");
  EXPECT_EQ(Ask(0, 8, 1, {{Data(3), Hole(1)}, {Data(4)}}), "d6 ");
}

TEST_F(ExtentsTest, ALegThatAnswersEarlyEndsTheAnswerThere) {
  MakeStripeOf({4 * kChunk, 4 * kChunk});
  EXPECT_EQ(Ask(0, 8, 100, {{Data(4)}, {Data(1)}}), "d3 ");
  EXPECT_EQ(Ask(0, 8, 100, {{Data(1)}, {Data(4)}}), "d2 ");
}

TEST_F(ExtentsTest, ALegsErrorIsTheAnswer) {
  MakeStripeOf({4 * kChunk, 4 * kChunk});
  EXPECT_EQ(Ask(0, 8, 100, {{}, {Data(4)}}, EIO), "error " + std::to_string(EIO));
}

TEST_F(ExtentsTest, OnlyTouchedLegsAreAsked) {
  MakeConcatOf({4 * kChunk, 4 * kChunk});
  EXPECT_EQ(Ask(4, 4, 100, {{}, {Data(4)}}), "d4 ");
}

TEST_F(VolumeTest, OurOwnMistakesAreCaught) {
  MakeStripeOf({4 * kChunk, 4 * kChunk});
  Request beyond(*volume, Op::kRead, 8 * kChunk - 512, 1024);
  Request crooked(*volume, Op::kRead, 100, 512);
  EXPECT_DEATH(Go(beyond), "InRange");
  EXPECT_DEATH(Go(crooked), "IsAligned");
}

}  // namespace
}  // namespace sluice
