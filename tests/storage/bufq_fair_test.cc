// SPDX-License-Identifier: Apache-2.0
// The shares of `fair`: bytes served, a flow, while all flows have requests.
#include <gtest/gtest.h>

#include <array>
#include <random>

#include "core/units.h"
#include "storage/carrier.h"
#include "tests/storage/bufq_support.h"

namespace sluice {
namespace {

constexpr uint64_t kServe = 256 * kMiB;  // bytes a measurement

class BufqFairTest : public testing::Test {
 protected:
  struct Source {  // keeps `depth` requests of a flow waiting
    uint16_t flow;
    uint32_t length;
    size_t depth;
  };

  void TearDown() override {
    queue_->Drain(0, [](Bio&) {});
  }

  void Open(std::vector<uint32_t> weights = {}) {
    BufqOptions options;
    options.flow_weights = std::move(weights);
    queue_ = NewBufq("fair", options);
  }

  void PutBio(const Source& source) {
    Bio& bio = bios_.emplace_back();
    bio.flow = source.flow;
    bio.length = source.length;
    queue_->Put(bio);
  }

  // A carrier that counts as flows[0]'s and has a rider of each flow.
  void PutCarrier(const std::vector<uint16_t>& flows, uint32_t length) {
    Carrier& carrier = carriers_.emplace_back();
    carrier.bio.flags = kCarrier;
    carrier.bio.flow = flows[0];
    for (const uint16_t flow : flows) {
      Bio& rider = bios_.emplace_back();
      rider.flow = flow;
      rider.length = length;
      rider.where = Where::kRider;
      carrier.riders.push_back(rider);
      carrier.bio.length += length;
      ++carrier.rider_count;
    }
    queue_->Put(carrier.bio);
  }

  // Gets one, counts it, and puts it again.
  void Step() {
    Bio* bio = queue_->Get(0);
    ForEachRider(*bio, [this](const Bio& rider) { served_[rider.flow] += rider.length; });
    total_ += bio->length;
    queue_->Put(*bio);
  }

  void Serve(const std::vector<Source>& sources) {
    for (const Source& source : sources) {
      for (size_t i = 0; i < source.depth; ++i) PutBio(source);
    }
    while (total_ < kServe) Step();
  }

  double Share(uint16_t flow) const {
    return static_cast<double>(served_.at(flow)) / static_cast<double>(total_);
  }

  std::unique_ptr<Bufq> queue_;
  std::deque<Bio> bios_;
  std::deque<Carrier> carriers_;
  std::map<uint16_t, uint64_t> served_;
  uint64_t total_ = 0;
};

#define EXPECT_SHARE(flow, share) EXPECT_NEAR(Share(flow), share, 0.05 * (share))

TEST_F(BufqFairTest, DeeperFlowsGetNoMore) {
  Open();
  Serve({{1, kBlock, 1}, {2, kBlock, 32}, {3, kBlock, 256}, {4, kBlock, 4}});
  for (uint16_t flow = 1; flow <= 4; ++flow) EXPECT_SHARE(flow, 0.25);
}

TEST_F(BufqFairTest, LargerRequestsGetNoMore) {
  Open();
  Serve({{1, kBlock, 32}, {2, 64 * kBlock, 32}, {3, 256 * kBlock, 32}, {4, 3 * kBlock, 32}});
  for (uint16_t flow = 1; flow <= 4; ++flow) EXPECT_SHARE(flow, 0.25);
}

TEST_F(BufqFairTest, WeightsAreShares) {
  Open({1, 2, 7});
  Serve({{0, kBlock, 16}, {1, 16 * kBlock, 16}, {2, kBlock, 16}});
  EXPECT_SHARE(0, 0.1);
  EXPECT_SHARE(1, 0.2);
  EXPECT_SHARE(2, 0.7);
}

TEST_F(BufqFairTest, FlowsBeyondTheWeightsAndWeightZeroWeighOne) {
  Open({0, 2});
  Serve({{0, kBlock, 16}, {1, kBlock, 16}, {65535, kBlock, 16}});
  EXPECT_SHARE(0, 0.25);
  EXPECT_SHARE(1, 0.5);
  EXPECT_SHARE(65535, 0.25);
}

TEST_F(BufqFairTest, ACarrierChargesEachRidersOwnFlow) {
  Open();
  for (int i = 0; i < 32; ++i) PutCarrier({1, 2, 2, 1, 1, 2, 3, 3}, 4 * kBlock);
  Serve({{1, kBlock, 32}, {2, kBlock, 32}, {3, 8 * kBlock, 32}, {4, kBlock, 32}});
  for (uint16_t flow = 1; flow <= 4; ++flow) EXPECT_SHARE(flow, 0.25);
}

TEST_F(BufqFairTest, RandomSourcesWeightsAndCarriersGetTheirShares) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 10; ++round) {
    SCOPED_TRACE(round);
    std::vector<uint32_t> weights;
    for (int i = 0; i < 6; ++i) weights.push_back(static_cast<uint32_t>(1 + random() % 8));
    Open(weights);
    served_.clear();
    total_ = 0;
    std::vector<Source> sources;
    double sum = 0;
    for (uint16_t flow = 0; flow < 6; ++flow) {
      sources.push_back(
          {flow, static_cast<uint32_t>((1 + random() % 32) * kBlock), 1 + random() % 40});
      sum += weights[flow];
    }
    for (int i = 0; i < 4; ++i) {
      PutCarrier({static_cast<uint16_t>(random() % 6), static_cast<uint16_t>(random() % 6)},
                 kBlock);
    }
    Serve(sources);
    for (uint16_t flow = 0; flow < 6; ++flow) EXPECT_SHARE(flow, weights[flow] / sum);
    queue_->Drain(0, [](Bio&) {});
  }
}

TEST_F(BufqFairTest, OneFlowIsServedInOrderOfArrival) {
  Open();
  Requests requests;
  requests.Put(*queue_, "r9.7 w1.7 0r5.7 r1.7");
  EXPECT_EQ(requests.GetAll(*queue_), "r9.7 w1.7 0r5.7 r1.7");
}

TEST_F(BufqFairTest, AFlowThatWasIdleNeitherSavedCreditNorWaitsForTheOthers) {
  Open();
  Serve({{1, kBlock, 32}, {2, kBlock, 32}});
  served_.clear();
  total_ = 0;
  Serve({{3, kBlock, 32}});  // joins: a third from now on, and no more for having waited
  for (uint16_t flow = 1; flow <= 3; ++flow) EXPECT_SHARE(flow, 1.0 / 3);
}

TEST_F(BufqFairTest, ComingAndGoingSavesUpNothing) {
  Open();
  for (int i = 0; i < 64; ++i) PutBio({2, kBlock, 1});
  for (int i = 0; i < 100; ++i) {
    PutBio({1, kBlock, 1});
    Bio* bio = queue_->Get(0);
    for (; bio->flow != 1; bio = queue_->Get(0)) queue_->Put(*bio);
    queue_->Put(*queue_->Get(0));  // of flow 2: flow 1 has left
  }
  for (int i = 0; i < 200; ++i) PutBio({1, kBlock, 1});
  for (int i = 0; i < 100; ++i) Step();
  EXPECT_GT(served_[2], 0);
  EXPECT_LE(served_[1], 3 * 64 * kKiB);  // not the 6 MiB of credit that it left behind
}

TEST_F(BufqFairTest, AFlowCannotEscapeItsDebtByLeaving) {
  Open();
  for (int i = 0; i < 64; ++i) PutBio({2, kBlock, 1});
  PutBio({1, static_cast<uint32_t>(kMiB), 1});
  while (total_ < kServe) {
    Bio* bio = queue_->Get(0);
    served_[bio->flow] += bio->length;
    total_ += bio->length;
    if (bio->flow == 2) queue_->Put(*bio);
    // Flow 1 sends its next request when it has left the front, with nothing waiting.
    if (bio->flow == 2 && queue_->size() == 64) PutBio({1, static_cast<uint32_t>(kMiB), 1});
  }
  EXPECT_SHARE(1, 0.5);
}

TEST_F(BufqFairTest, AFlowThatOnlyRodeAlongOwesForItButNotForEver) {
  Open({1000, 1, 1});
  for (int i = 0; i < 32; ++i) PutCarrier({0, 1}, 64 * kBlock);
  while (total_ < kServe) Step();  // flow 1 got half of it, at a thousandth of the weight
  queue_->Drain(0, [](Bio&) {});

  for (int i = 0; i < 64; ++i) PutBio({2, kBlock, 1});
  PutBio({1, kBlock, 1});
  total_ = 0;
  served_.clear();
  while (served_[1] == 0) Step();
  EXPECT_GE(served_[2], 3 * kMiB);
  EXPECT_LE(served_[2], 5 * kMiB);
}

TEST_F(BufqFairTest, TrimsAndTinyRequestsCostWhatTheyCostADevice) {
  Open();
  Requests requests;
  Bio& trim = requests.Make("w0.1");
  trim.op = Op::kTrim;
  trim.length = static_cast<uint32_t>(kGiB);
  queue_->Put(trim);
  for (int i = 0; i < 1000; ++i) requests.Put(*queue_, "r0.2");
  EXPECT_EQ(requests.Get(*queue_, 1), "w0.1");
  requests.Put(*queue_, "r1.1");
  std::string all = requests.GetAll(*queue_);
  const size_t waited = all.substr(0, all.find("r1.1")).size() / std::string("r0.2 ").size();
  EXPECT_LE(waited, kMiB / kBlock + 16);  // one largest transfer's worth, not one gibibyte's
  EXPECT_GT(waited, 0);
}

}  // namespace
}  // namespace sluice
