// SPDX-License-Identifier: Apache-2.0
#include "storage/exclusive_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "tests/sim/host.h"
#include "tests/sim/log_lines.h"

namespace sluice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint64_t kSize = 1 << 20;

std::string Refusal(const ExclusiveFile::Options& options) {
  const auto file = ExclusiveFile::Open(options);
  return file.ok() ? "none" : std::string(file.status().message());
}

// Another process's hold on a file: an open description of its own, locked as fcntl(2) says.
class Stranger {
 public:
  Stranger(const std::string& path, int16_t type) : fd_(open(path.c_str(), O_RDWR | O_CLOEXEC)) {
    struct flock lock {};
    lock.l_type = type;
    EXPECT_EQ(fcntl(fd_, F_OFD_SETLK, &lock), 0);
  }
  ~Stranger() { close(fd_); }

 private:
  int fd_;
};

TEST(ExclusiveFile, OneInodeIsOneDiskWhateverItsNameAndMode) {
  sim::TempDir dir;
  const std::string path = dir.Sparse("a", kSize);
  ASSERT_EQ(link(path.c_str(), dir.At("b").c_str()), 0);
  {
    auto file = ExclusiveFile::Open({.path = path, .read_only = true});
    ASSERT_TRUE(file.ok()) << file.status();
    const ExclusiveFile moved = *std::move(file);
    EXPECT_THAT(Refusal({.path = path}), HasSubstr("already a disk of this server"));
    EXPECT_THAT(Refusal({.path = dir.At("b"), .read_only = true}), HasSubstr("already a disk"));
  }
  EXPECT_EQ(Refusal({.path = dir.At("b")}), "none");
}

TEST(ExclusiveFile, SharesAFileWithOtherReadersOnly) {
  sim::TempDir dir;
  const std::string path = dir.Sparse("a", kSize);
  {
    Stranger reader(path, F_RDLCK);
    EXPECT_EQ(Refusal({.path = path, .read_only = true}), "none");
    EXPECT_THAT(Refusal({.path = path}), HasSubstr("in use by another process"));
  }
  {
    Stranger writer(path, F_WRLCK);
    EXPECT_THAT(Refusal({.path = path, .read_only = true}), HasSubstr("in use by another"));
  }
  EXPECT_EQ(Refusal({.path = path}), "none");
}

TEST(ExclusiveFile, WaitsForAHolderThatIsAboutToLetGo) {
  sim::TempDir dir;
  const std::string path = dir.Sparse("a", kSize);
  auto dying = std::make_unique<Stranger>(path, F_WRLCK);
  std::thread death([&dying] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    dying.reset();
  });
  EXPECT_EQ(Refusal({.path = path}), "none");
  death.join();
}

TEST(ExclusiveFile, CreatesAMissingFileSparseAndForItsOwnerAlone) {
  sim::TempDir dir;
  EXPECT_THAT(Refusal({.path = dir.At("new")}), HasSubstr("No such file"));
  EXPECT_EQ(Refusal({.path = dir.At("new"), .create_bytes = kSize}), "none");
  struct stat facts {};
  ASSERT_EQ(stat(dir.At("new").c_str(), &facts), 0);
  EXPECT_EQ(facts.st_size, kSize);
  EXPECT_EQ(facts.st_blocks, 0);
  EXPECT_EQ(facts.st_mode & 0777, 0600U);
}

TEST(ExclusiveFile, AnExistingFileMustHaveTheSizeItWasToBeMadeWith) {
  sim::TempDir dir;
  const std::string path = dir.Sparse("a", kSize);
  EXPECT_EQ(Refusal({.path = path, .create_bytes = kSize}), "none");
  EXPECT_THAT(Refusal({.path = path, .create_bytes = kSize + 512}),
              HasSubstr("exists with 1048576 bytes, not the 1049088"));
  EXPECT_EQ(std::filesystem::file_size(path), kSize);
}

TEST(ExclusiveFile, AFailedCreationLeavesNothingBehind) {
  sim::TempDir dir;
  EXPECT_NE(Refusal({.path = dir.At("huge"), .create_bytes = uint64_t{1} << 62}), "none");
  EXPECT_NE(Refusal({.path = dir.At("huge"), .create_bytes = ~uint64_t{0}}), "none");
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(ExclusiveFile, GoesThroughNoLinkWhereverItStandsIfThatIsAsked) {
  sim::TempDir dir;
  ASSERT_EQ(mkdir(dir.At("folder").c_str(), 0700), 0);
  const std::string file = dir.Sparse("folder/file", kSize);
  ASSERT_EQ(symlink("folder", dir.At("way").c_str()), 0);
  ASSERT_EQ(symlink("file", dir.At("folder/other").c_str()), 0);
  ASSERT_EQ(symlink("new", dir.At("folder/dangling").c_str()), 0);
  for (const char* name : {"way/file", "folder/other"}) {
    EXPECT_EQ(Refusal({.path = dir.At(name)}), "none");
    EXPECT_THAT(Refusal({.path = dir.At(name), .no_links = true}), HasSubstr(name));
  }
  for (const char* name : {"way/new", "folder/dangling"}) {
    EXPECT_THAT(Refusal({.path = dir.At(name), .create_bytes = kSize, .no_links = true}),
                HasSubstr(name));
  }
  EXPECT_NE(access(dir.At("folder/new").c_str(), F_OK), 0);
  EXPECT_EQ(Refusal({.path = file, .no_links = true}), "none");
  EXPECT_EQ(Refusal({.path = dir.At("folder/new"), .create_bytes = kSize, .no_links = true}),
            "none");
}

TEST(ExclusiveFile, RefusesWhatIsNoDisk) {
  sim::TempDir dir;
  ASSERT_EQ(mkfifo(dir.At("pipe").c_str(), 0600), 0);
  EXPECT_THAT(Refusal({.path = dir.At("pipe")}), HasSubstr("neither a regular file nor a block"));
  EXPECT_THAT(Refusal({.path = dir.path()}), HasSubstr("neither a regular file nor a block"));
  EXPECT_THAT(Refusal({.path = "/dev/null"}), HasSubstr("neither a regular file nor a block"));
}

class ExclusiveDevice : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "loop devices need root";
  }
  sim::TempDir dir_;
};

TEST_F(ExclusiveDevice, IsRefusedWhileSomebodyHoldsIt) {
  const sim::LoopDevice loop(dir_.Sparse("a", kSize), 512);
  const int holder = open(loop.path().c_str(), O_RDONLY | O_EXCL | O_CLOEXEC);
  ASSERT_GE(holder, 0);
  EXPECT_THAT(Refusal({.path = loop.path()}), HasSubstr("mounted or in use"));
  EXPECT_THAT(Refusal({.path = loop.path(), .read_only = true}), HasSubstr("mounted or in use"));
  close(holder);
  EXPECT_EQ(Refusal({.path = loop.path()}), "none");
}

TEST_F(ExclusiveDevice, ThatForbidsWritingIsOpenedForReadingWithAWarning) {
  const sim::LoopDevice loop(dir_.Sparse("a", kSize), 512, true);
  const sim::LogLines log;
  const auto file = ExclusiveFile::Open({.path = loop.path()});
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(file->read_only());
  EXPECT_THAT(log.lines(), ElementsAre(HasSubstr("the disk is read-only")));
}

}  // namespace
}  // namespace sluice
