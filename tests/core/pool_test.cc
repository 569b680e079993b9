// SPDX-License-Identifier: Apache-2.0
#include "core/pool.h"

#include <cstring>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "core/units.h"
#include "tests/core/fakes.h"

namespace sluice {
namespace {

constexpr uint32_t kBlock = BufferPool::kBlockMin;

struct Taken {
  Segment segs[kMaxSegments];
  uint16_t count = 0;
  uint32_t bytes = 0;
  char mark = 0;
};

void Fill(const Taken& taken) {
  for (uint16_t i = 0; i < taken.count; ++i) {
    std::memset(taken.segs[i].iov_base, taken.mark, taken.segs[i].iov_len);
  }
}

bool HoldsItsMark(const Taken& taken) {
  for (uint16_t i = 0; i < taken.count; ++i) {
    const auto* bytes = static_cast<const char*>(taken.segs[i].iov_base);
    for (size_t at = 0; at < taken.segs[i].iov_len; ++at) {
      if (bytes[at] != taken.mark) return false;
    }
  }
  return true;
}

bool Take(BufferPool& pool, uint32_t bytes, Taken& taken) {
  taken.bytes = bytes;
  taken.count = pool.Take(bytes, taken.segs);
  return taken.count > 0;
}

void ExpectWellFormed(const Taken& taken) {
  size_t sum = 0;
  ASSERT_LE(taken.count, kMaxSegments);
  for (uint16_t i = 0; i < taken.count; ++i) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(taken.segs[i].iov_base) % kBlock, 0u);
    EXPECT_GT(taken.segs[i].iov_len, 0u);
    sum += taken.segs[i].iov_len;
  }
  EXPECT_EQ(sum, taken.bytes);
}

TEST(BufferPool, OneBlockServesWhatFitsInOne) {
  BufferPool pool(4 * kMiB);
  for (const uint32_t bytes : {1u, 4095u, 4096u, 4097u, 65536u, 65537u, kMaxTransfer}) {
    Taken taken;
    ASSERT_TRUE(Take(pool, bytes, taken));
    EXPECT_EQ(taken.count, 1);
    ExpectWellFormed(taken);
    pool.Give(taken.segs, taken.count);
    EXPECT_EQ(pool.free_bytes(), 4 * kMiB);
  }
}

// What is taken is marked byte by byte, so an overlap shows; what is free is counted.
TEST(BufferPool, TakenMemoryNeverOverlapsAndAllOfItComesBackWhole) {
  constexpr size_t kBytes = 8 * kMiB;
  for (uint32_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    BufferPool pool(kBytes);
    std::vector<Taken> held;
    int refused = 0;
    for (int step = 0; step < 3000; ++step) {
      if (held.empty() || random() % 5 < 3) {
        const uint32_t most = 1U << (random() % 21);
        Taken taken;
        taken.mark = static_cast<char>(random());
        const size_t free_before = pool.free_bytes();
        if (Take(pool, 1 + static_cast<uint32_t>(random()) % most, taken)) {
          ExpectWellFormed(taken);
          EXPECT_LE(pool.free_bytes(), free_before - AlignUp(taken.bytes, kBlock));
          Fill(taken);
          held.push_back(taken);
        } else {
          ++refused;
          EXPECT_EQ(pool.free_bytes(), free_before) << "a refusal keeps nothing";
        }
      } else {
        const size_t at = random() % held.size();
        EXPECT_TRUE(HoldsItsMark(held[at]));
        pool.Give(held[at].segs, held[at].count);
        held[at] = held.back();
        held.pop_back();
      }
    }
    EXPECT_GT(refused, 0) << "the pool was never short";
    for (const Taken& taken : held) {
      EXPECT_TRUE(HoldsItsMark(taken));
      pool.Give(taken.segs, taken.count);
    }
    EXPECT_EQ(pool.free_bytes(), kBytes);
    Taken whole[kBytes / kMaxTransfer];
    for (Taken& taken : whole) {
      ASSERT_TRUE(Take(pool, kMaxTransfer, taken));
      EXPECT_EQ(taken.count, 1) << "the buddies did not find each other";
    }
    EXPECT_EQ(pool.free_bytes(), 0u);
    for (Taken& taken : whole) pool.Give(taken.segs, taken.count);
  }
}

TEST(BufferPool, TheFirstPartIsGivenOutBeforeTheRest) {
  BufferPool pool(2 * BufferPool::kHotBytes);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(pool.base()) % (2 * kMiB), 0u) << "for huge pages";
  const auto is_hot = [&](const Taken& taken) {
    return taken.segs[0].iov_base < pool.base() + pool.hot_bytes();
  };
  constexpr size_t kBlocks = BufferPool::kHotBytes / (64 * kKiB);
  std::vector<Taken> held(2 * kBlocks);
  for (size_t i = 0; i < held.size(); ++i) {
    ASSERT_TRUE(Take(pool, 64 * kKiB, held[i]));
    EXPECT_EQ(is_hot(held[i]), i < kBlocks) << i;
  }
  // One of each part came back, the hot one first: it still goes first.
  pool.Give(held[3].segs, held[3].count);
  pool.Give(held[kBlocks + 3].segs, held[kBlocks + 3].count);
  ASSERT_TRUE(Take(pool, 4096, held[3]));
  EXPECT_TRUE(is_hot(held[3]));
  ASSERT_TRUE(Take(pool, 64 * kKiB, held[kBlocks + 3]));
  EXPECT_FALSE(is_hot(held[kBlocks + 3])) << "the hot part has no such block left";
  for (const Taken& taken : held) pool.Give(taken.segs, taken.count);
  EXPECT_EQ(pool.free_bytes(), pool.bytes());
}

// Fills the pool with blocks of `bytes` and gives every second one back.
std::vector<Taken> Comb(BufferPool& pool, uint32_t bytes) {
  std::map<void*, Taken> by_address;
  for (Taken taken; Take(pool, bytes, taken);) by_address[taken.segs[0].iov_base] = taken;
  std::vector<Taken> kept;
  bool gives = false;
  for (const auto& [address, taken] : by_address) {
    if (gives) {
      pool.Give(taken.segs, taken.count);
    } else {
      kept.push_back(taken);
    }
    gives = !gives;
  }
  return kept;
}

TEST(BufferPool, AFragmentedPoolStillServesTheLargestBioInAtMostSixtyFourSegments) {
  for (uint32_t piece = kMaxTransfer / kMaxSegments; piece < kMaxTransfer; piece *= 2) {
    BufferPool pool(4 * kMiB);
    const std::vector<Taken> kept = Comb(pool, piece);
    ASSERT_EQ(pool.free_bytes(), 2 * kMiB);
    Taken taken;
    ASSERT_TRUE(Take(pool, kMaxTransfer, taken));
    ExpectWellFormed(taken);
    EXPECT_EQ(taken.count, kMaxTransfer / piece);
    pool.Give(taken.segs, taken.count);
    for (const Taken& one : kept) pool.Give(one.segs, one.count);
  }
}

TEST(BufferPool, FinerFragmentsThanThatAreRefusedForLargeBiosAndServeSmallOnes) {
  BufferPool pool(4 * kMiB);
  const std::vector<Taken> kept = Comb(pool, kBlock);
  Taken taken;
  EXPECT_FALSE(Take(pool, kMaxTransfer, taken));
  EXPECT_FALSE(Take(pool, kBlock * kMaxSegments + 1, taken));
  ASSERT_TRUE(Take(pool, kBlock * kMaxSegments, taken));
  EXPECT_EQ(taken.count, kMaxSegments);
  pool.Give(taken.segs, taken.count);
  for (const Taken& one : kept) pool.Give(one.segs, one.count);
  EXPECT_EQ(pool.free_bytes(), 4 * kMiB);
}

TEST(BufferPoolDeathTest, ABlockGivenTwiceOrNotFromHereStopsTheProcess) {
  BufferPool pool(kMiB);
  Taken taken;
  ASSERT_TRUE(Take(pool, kBlock, taken));
  const Taken again = taken;
  pool.Give(taken.segs, taken.count);
  EXPECT_DEATH(pool.Give(again.segs, again.count), "check failed");
  ASSERT_TRUE(Take(pool, kMaxTransfer, taken));
  Segment inside = {static_cast<char*>(taken.segs[0].iov_base) + kBlock, kBlock};
  EXPECT_DEATH(pool.Give(&inside, 1), "check failed");
  Segment odd = {static_cast<char*>(taken.segs[0].iov_base) + 1, kBlock};
  EXPECT_DEATH(pool.Give(&odd, 1), "check failed");
  char elsewhere = 0;
  Segment foreign = {&elsewhere, 1};
  EXPECT_DEATH(pool.Give(&foreign, 1), "check failed");
  pool.Give(taken.segs, taken.count);
}

TEST(Slab, GivesDistinctAlignedCellsAndTheLastFreedFirst) {
  struct alignas(64) Thing {
    explicit Thing(int n) : number(n) {}
    int number;
  };
  Slab<Thing> slab(100);
  std::set<Thing*> all;
  for (int i = 0; i < 100; ++i) {
    Thing* thing = slab.New(i);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(thing) % 64, 0u);
    EXPECT_TRUE(all.insert(thing).second);
  }
  EXPECT_EQ(slab.used(), slab.capacity());
  EXPECT_DEATH(slab.New(100), "check failed");
  std::set<int> numbers;
  for (Thing* thing : all) numbers.insert(thing->number);
  EXPECT_EQ(numbers.size(), 100u);
  Thing* one = *all.begin();
  slab.Delete(one);
  EXPECT_EQ(slab.New(7), one);
  for (Thing* thing : all) slab.Delete(thing);
  EXPECT_EQ(slab.used(), 0u);
}

#if defined(__SANITIZE_ADDRESS__)
TEST(SlabDeathTest, AFreedCellMayNotBeTouched) {
  Slab<BioCell> slab(2);
  BioCell* cell = slab.New();
  slab.Delete(cell);
  EXPECT_DEATH(cell->owner = nullptr, "use-after-poison");
}
#endif

TEST(BioPool, ReservationsAreCountedAndHeldToTheCredits) {
  BioPool pool(10, 3);
  EXPECT_TRUE(pool.Reserve(4));
  EXPECT_TRUE(pool.Reserve(6));
  EXPECT_FALSE(pool.Reserve(1));
  pool.Unreserve(6);
  EXPECT_FALSE(pool.Reserve(7));
  EXPECT_TRUE(pool.Reserve(6));
  EXPECT_EQ(pool.reserved(), 10u);
  EXPECT_DEATH(pool.Unreserve(11), "check failed");
  EXPECT_DEATH(static_cast<void>(pool.Reserve(11)), "check failed") << "could never be granted";
}

TEST(BioPool, HoldsCellsAndListsForTheReservationsOfAllReactors) {
  BioPool pool(10, 3);
  std::vector<BioCell*> cells;
  std::vector<SegmentList*> lists;
  for (int i = 0; i < 30; ++i) {
    cells.push_back(pool.New());
    lists.push_back(pool.NewList());
  }
  EXPECT_EQ(pool.used(), 30u);
  for (BioCell* cell : cells) pool.Delete(cell);
  for (SegmentList* list : lists) pool.DeleteList(list);
  EXPECT_EQ(pool.used(), 0u);
}

// --- the waiters' line ---

// Takes 1 MiB buffers until it has as many as it wants.
struct Wanter : PoolWaiter {
  Wanter(Reactor& at, std::string& to, char as, int needs, bool to_front = true)
      : reactor(at), order(to), name(as), wants(needs), at_front(to_front) {
    run = [](PoolWaiter& waiter) noexcept { static_cast<Wanter&>(waiter).Try(); };
  }
  void Try() {
    ++calls;
    while (static_cast<int>(taken.size()) < wants) {
      Taken one;
      if (!Take(reactor.buffers(), kMaxTransfer, one)) return reactor.WaitForPool(*this, at_front);
      taken.push_back(one);
      order += name;
    }
    if (neighbour != nullptr) neighbour->reset();
  }
  void GiveOne() {
    reactor.buffers().Give(taken.back().segs, taken.back().count);
    taken.pop_back();
    reactor.PoolsGave();
  }
  ~Wanter() {
    while (!taken.empty()) GiveOne();
  }
  Reactor& reactor;
  std::string& order;
  char name;
  int wants;
  bool at_front;
  int calls = 0;
  std::unique_ptr<Wanter>* neighbour = nullptr;
  std::vector<Taken> taken;
};

class PoolLines : public ::testing::Test {
 protected:
  static ReactorOptions Options() {
    ReactorOptions options = SmallOptions();
    options.buffer_bytes = 2 * kMiB;
    return options;
  }
  std::unique_ptr<Wanter> Make(char name, int needs, bool at_front = true) {
    return std::make_unique<Wanter>(reactor_, order_, name, needs, at_front);
  }
  // `holder` takes all there is, and the others stand in line.
  void Line(Wanter& holder, std::initializer_list<Wanter*> waiters) {
    holder.Try();
    order_.clear();
    for (Wanter* waiter : waiters) reactor_.WaitForPool(*waiter);
  }
  void GiveOne(Wanter& holder) {
    holder.GiveOne();
    reactors_.Settle();
  }

  ManualReactors reactors_{1, Options()};
  Reactor& reactor_ = reactors_.at(0);
  std::string order_;
};

TEST_F(PoolLines, FirstComeFirstServedAndNobodyOvertakesAWaiterThatIsStillShort) {
  auto holder = Make('h', 2);
  auto large = Make('L', 2);
  auto small = Make('s', 1);
  Line(*holder, {large.get(), small.get()});
  EXPECT_FALSE(reactor_.PoolLineEmpty());
  reactors_.Settle();
  EXPECT_EQ(large->calls, 0) << "nothing was given back";
  GiveOne(*holder);
  EXPECT_EQ(order_, "L");
  EXPECT_EQ(small->calls, 0);
  GiveOne(*holder);
  EXPECT_EQ(order_, "LL");
  GiveOne(*large);
  EXPECT_EQ(order_, "LLs");
  EXPECT_TRUE(reactor_.PoolLineEmpty());
}

TEST_F(PoolLines, WaitersThatStandAtTheBackAnewDoNotChaseEachOtherForEver) {
  auto holder = Make('h', 2);
  auto a = Make('a', 2, false);
  auto b = Make('b', 2, false);
  Line(*holder, {a.get(), b.get()});
  GiveOne(*holder);
  EXPECT_EQ(order_, "a");
  EXPECT_EQ(a->calls + b->calls, 2);
  GiveOne(*holder);
  EXPECT_EQ(order_, "aa");
}

TEST_F(PoolLines, AWaiterMayDestroyItsNeighbourWhileTheLineRuns) {
  auto holder = Make('h', 2);
  auto a = Make('a', 1);
  auto b = Make('b', 1);
  auto c = Make('c', 1);
  a->neighbour = &b;
  Line(*holder, {a.get(), b.get(), c.get()});
  holder->GiveOne();
  GiveOne(*holder);
  EXPECT_EQ(b, nullptr);
  EXPECT_EQ(order_, "ac");
}

TEST_F(PoolLines, AWaiterMayDestroyItself) {
  auto holder = Make('h', 2);
  auto a = Make('a', 1);
  auto b = Make('b', 1);
  Line(*holder, {a.get(), b.get()});
  a->run = [](PoolWaiter& waiter) noexcept { static_cast<Wanter&>(waiter).neighbour->reset(); };
  a->neighbour = &a;
  GiveOne(*holder);
  EXPECT_EQ(a, nullptr);
  EXPECT_EQ(order_, "b");
}

}  // namespace
}  // namespace sluice
