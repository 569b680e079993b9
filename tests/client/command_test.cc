// SPDX-License-Identifier: Apache-2.0
// The parts commands are made of.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "client/command/journal.h"
#include "client/command/meter.h"
#include "client/command/parallel.h"
#include "client/command/text.h"

namespace sluice::command {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(PiecesOf, ZeroesShrinkToWholeBlocksAndDataTakesTheRest) {
  const std::vector<Extent> extents = {
      {1000, 3096, false, false}, {4096, 5000, true, true}, {9096, 904, false, false}};
  EXPECT_THAT(PiecesOf(extents, 1), ElementsAre(Piece{1000, 3096, false}, Piece{4096, 5000, true},
                                                Piece{9096, 904, false}));
  EXPECT_THAT(
      PiecesOf(extents, 4096),
      ElementsAre(Piece{1000, 3096, false}, Piece{4096, 4096, true}, Piece{8192, 1808, false}));
  EXPECT_THAT(PiecesOf({{0, 100, true, true}}, 512), ElementsAre(Piece{0, 100, false}));
}

TEST(PiecesOf, CoverEverythingOnceForAnyExtents) {
  std::vector<Extent> extents;
  uint64_t at = 0;
  for (uint64_t i = 0; i < 200; ++i) {
    const uint64_t length = (i * 7919) % 3'000'000 + 1;
    extents.push_back({at, length, i % 5 == 0, i % 3 == 0});
    at += length;
  }
  for (const uint64_t align : {1u, 512u, 4096u, 65536u}) {
    uint64_t end = 0;
    for (const Piece& piece : PiecesOf(extents, align)) {
      ASSERT_EQ(piece.offset, end);
      ASSERT_GT(piece.length, 0u);
      ASSERT_TRUE(piece.zero || piece.length <= kPieceBytes);
      ASSERT_TRUE(!piece.zero || piece.offset % align == 0);
      end += piece.length;
    }
    EXPECT_EQ(end, at);
  }
}

TEST(ForEach, TheFirstErrorEndsItAndIsReturned) {
  BufferPool buffers;
  const std::vector<Piece> pieces(1000, Piece{0, 1, false});
  std::atomic<int> done = 0;
  const Status status = ForEach(pieces, 4, buffers, [&](const Piece&, Buffer&) -> Status {
    if (++done == 100) return Status(StatusCode::kIoError, "the hundredth");
    return {};
  });
  EXPECT_EQ(status.message(), "the hundredth");
  EXPECT_LT(done, 1000);
  done = 0;
  EXPECT_TRUE(ForEach(pieces, 4, buffers, [&](const Piece&, Buffer&) {
                ++done;
                return Status();
              }).ok());
  EXPECT_EQ(done, 1000);
}

class JournalTest : public ::testing::Test {
 protected:
  ~JournalTest() override { unlink(path_.c_str()); }

  const std::string path_ = ::testing::TempDir() + "sluice-journal-" + std::to_string(getpid());
  const CopyIdentity identity_ = {"a\nb", "nbd://h/x", 1000, "1:2:3.4"};
};

TEST_F(JournalTest, TellsWhatWasSavedLastAndNothingWithoutAFile) {
  const Journal journal(path_, identity_);
  EXPECT_EQ(*journal.Load(), 0u);
  ASSERT_TRUE(journal.Save(300).ok());
  ASSERT_TRUE(journal.Save(700).ok());
  EXPECT_EQ(*Journal(path_, identity_).Load(), 700u);
  journal.Remove();
  EXPECT_EQ(*journal.Load(), 0u);
}

TEST_F(JournalTest, OfAnotherCopyOrDamagedIsRefused) {
  ASSERT_TRUE(Journal(path_, identity_).Save(300).ok());
  for (const CopyIdentity& other :
       {CopyIdentity{"a", "nbd://h/x", 1000, "1:2:3.4"}, CopyIdentity{"a\nb", "y", 1000, "1:2:3.4"},
        CopyIdentity{"a\nb", "nbd://h/x", 1001, "1:2:3.4"},
        CopyIdentity{"a\nb", "nbd://h/x", 1000, "1:2:3.5"}}) {
    EXPECT_EQ(Journal(path_, other).Load().status().code(), StatusCode::kFailedPrecondition);
  }
  std::ofstream(path_, std::ios::app) << "done 999\n";
  EXPECT_FALSE(Journal(path_, identity_).Load().ok());
  std::ofstream(path_) << "done 5\n";
  EXPECT_FALSE(Journal(path_, identity_).Load().ok());
}

TEST(Text, SizesRatesAndJson) {
  EXPECT_EQ(SizeText(512), "512 B");
  EXPECT_EQ(SizeText(1536), "1.5 KiB");
  EXPECT_EQ(SizeText(uint64_t{200} << 30), "200 GiB");
  EXPECT_EQ(JsonText("a\"\\\n"), "\"a\\\"\\\\\\u000a\"");
  EXPECT_EQ(MeterText("copy", 50, 100, 1),
            "copy [############            ]  50 %  1 B/s  0:50 left");
  EXPECT_THAT(MeterText("copy", 0, 0, 0), HasSubstr("100 %"));
}

}  // namespace
}  // namespace sluice::command
