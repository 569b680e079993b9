// SPDX-License-Identifier: Apache-2.0
// What memory a disk's medium sees: as few segments as there are stretches of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "storage/disk.h"
#include "tests/storage/disk_rig.h"

namespace sluice {
namespace {

using testing::ElementsAre;

constexpr uint32_t kPage = 4096;

// Notes how many segments each operation has.
class Counting final : public Medium {
 public:
  Counting(std::unique_ptr<Medium> below, std::vector<uint32_t>& segments)
      : below_(std::move(below)), segments_(segments) {}
  const MediumLimits& limits() const noexcept override { return below_->limits(); }
  void Attach(uint16_t reactor) noexcept override { below_->Attach(reactor); }
  Started Start(MediumIo& io) noexcept override {
    segments_.push_back(io.seg_count);
    return below_->Start(io);
  }
  void QueryExtents(ExtentQuery& query) noexcept override { below_->QueryExtents(query); }

 private:
  std::unique_ptr<Medium> below_;
  std::vector<uint32_t>& segments_;
};

class DiskMemory : public testing::Test {
 protected:
  RigOptions Options() {
    RigOptions options;
    options.wrap = [this](std::unique_ptr<Medium> below) {
      return std::make_unique<Counting>(std::move(below), segments);
    };
    return options;
  }

  // Requests for consecutive pages of the disk, whose memory is these pages of one piece.
  std::vector<Request*> Stream(DiskRig& rig, Op op, const std::vector<size_t>& pages) {
    memory.assign(16 * kPage, '\0');
    std::vector<Request*> stream;
    for (const size_t page : pages) {
      const uint64_t offset = stream.size() * kPage;
      Request& request = rig.Make(op, offset, kPage);
      char* const at = memory.data() + page * kPage;
      if (op == Op::kWrite) {
        const std::string bytes = DiskRig::Pattern(offset, kPage);
        std::copy(bytes.begin(), bytes.end(), at);
      }
      request.segs = {{at, kPage}};
      request.bio().segs = request.segs.data();
      stream.push_back(&request);
    }
    return stream;
  }

  std::vector<char> memory;
  std::vector<uint32_t> segments;  // of each operation
};

TEST_F(DiskMemory, ARunInOneStretchOfMemoryIsOneSegment) {
  DiskRig rig(Options());
  rig.Send(Stream(rig, Op::kWrite, {4, 5, 6, 7}));
  rig.Settle();
  EXPECT_THAT(segments, ElementsAre(1));
  EXPECT_EQ(rig.Contents(0, 4 * kPage), DiskRig::Pattern(0, 4 * kPage));
  rig.Send(Stream(rig, Op::kRead, {8, 9, 10, 11}));
  rig.Settle();
  EXPECT_THAT(segments, ElementsAre(1, 1));
  EXPECT_EQ(std::string(memory.data() + 8 * kPage, 4 * kPage), DiskRig::Pattern(0, 4 * kPage));
}

TEST_F(DiskMemory, StretchesStayApartAndInTheirOrder) {
  DiskRig rig(Options());
  rig.Send(Stream(rig, Op::kWrite, {7, 2, 3, 1, 0, 9}));
  rig.Settle();
  EXPECT_THAT(segments, ElementsAre(5));
  EXPECT_EQ(rig.Contents(0, 6 * kPage), DiskRig::Pattern(0, 6 * kPage));
}

// What is left of a short transfer begins inside a segment that was two.
TEST_F(DiskMemory, AShortTransferGoesOnInsideAJoinedSegment) {
  RigOptions options = Options();
  options.medium.short_per_mille = 700;
  DiskRig rig(options);
  Request& write = rig.Write(0, 8 * kPage);
  write.Cut({kPage, 3 * kPage, kPage, 3 * kPage});
  write.Fill(1);
  rig.Send(write);
  rig.Settle();
  EXPECT_EQ(write.error(), 0);
  EXPECT_GT(rig.disk->stats().continued.value(), 0u);
  EXPECT_EQ(std::count(segments.begin(), segments.end(), 1u),
            static_cast<ptrdiff_t>(segments.size()));
  EXPECT_EQ(rig.Contents(0, 8 * kPage), DiskRig::Pattern(0, 8 * kPage));
}

}  // namespace
}  // namespace sluice
