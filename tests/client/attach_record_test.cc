// SPDX-License-Identifier: Apache-2.0
#include "client/attach/record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "client/attach/device.h"
#include "core/units.h"

namespace sluice::attach {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Folder : public ::testing::Test {
 protected:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "sluice-attach-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~Folder() override { std::filesystem::remove_all(path_); }

  void Put(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(path_ + "/" + name).parent_path());
    std::ofstream(path_ + "/" + name) << text;
  }

  std::string path_;
};

using AttachRecord = Folder;
using AttachDevice = Folder;

const Record kRecord = {.pid = 42,
                        .uri = "nbd+unix:///a b?socket=/run/x",
                        .state = "attached",
                        .connections = 4,
                        .live_connections = 3,
                        .flags = 0x16d};

TEST_F(AttachRecord, WhatAKeeperWritesIsFoundWhileItLives) {
  {
    auto file = RecordFile::Take(3, path_);
    ASSERT_TRUE(file.ok());
    EXPECT_EQ(FindKeeper(3, true, path_), std::nullopt);  // nothing written yet
    file->Write(kRecord);
    EXPECT_EQ(FindKeeper(3, true, path_), kRecord);
    EXPECT_THAT(RecordedDevices(path_), ElementsAre(3));
    Record shorter = kRecord;
    shorter.uri = "nbd://h";
    file->Write(shorter);
    EXPECT_EQ(FindKeeper(3, true, path_), shorter);
  }
  EXPECT_EQ(FindKeeper(3, true, path_), std::nullopt);
  EXPECT_THAT(RecordedDevices(path_), IsEmpty());
}

TEST_F(AttachRecord, ADeviceHasOneKeeperAndTheSecondIsToldWho) {
  auto first = RecordFile::Take(0, path_);
  first->Write(kRecord);
  EXPECT_THAT(RecordFile::Take(0, path_).status().ToString(), HasSubstr("process 42"));
  EXPECT_TRUE(RecordFile::Take(1, path_).ok());
}

TEST_F(AttachRecord, WhatADeadKeeperLeftIsItsSuccessorsOrCleanedAway) {
  RecordFile::Take(0, path_)->Write(kRecord);
  Put("nbd0", "pid 7\nuri nbd://h/e\nstate attached\nconnections 2\nlive 2\nflags 1\n");
  EXPECT_EQ(FindKeeper(0, /*clean=*/false, path_), std::nullopt);
  {
    const auto file = RecordFile::Take(0, path_);
    ASSERT_TRUE(file.ok() && file->former());
    EXPECT_EQ(file->former()->connections, 2U);
    EXPECT_EQ(file->former()->uri, "nbd://h/e");
  }
  Put("nbd0", "pid 7\n");
  EXPECT_EQ(FindKeeper(0, /*clean=*/true, path_), std::nullopt);
  EXPECT_THAT(RecordedDevices(path_), IsEmpty());
}

TEST_F(AttachRecord, WhatAFormerKeeperLeftStaysWhenItsSuccessorDoesNotComeToKeepTheDevice) {
  Put("nbd0", "pid 7\nuri nbd://h/e\nstate attached\nconnections 2\nlive 2\nflags 1\n");
  EXPECT_TRUE(RecordFile::Take(0, path_)->former());
  {
    auto successor = RecordFile::Take(0, path_);
    ASSERT_TRUE(successor.ok() && successor->former());
    EXPECT_EQ(successor->former()->uri, "nbd://h/e");
    successor->Write(kRecord);
  }
  EXPECT_THAT(RecordedDevices(path_), IsEmpty());
}

TEST_F(AttachRecord, HalfARecordIsNone) {
  for (const char* text :
       {"", "pid 7\n", "pid x\nuri u\nconnections 1\nlive 1\nflags 1\n", "\xff"}) {
    Put("nbd0", text);
    EXPECT_FALSE(RecordFile::Take(0, path_)->former()) << text;
  }
}

TEST_F(AttachDevice, NamesAreReadAsUsersWriteThem) {
  EXPECT_EQ(*ParseDevice("/dev/nbd0"), 0U);
  EXPECT_EQ(*ParseDevice("nbd15"), 15U);
  for (const char* wrong : {"", "nbd", "/dev/sda", "nbd0p1", "nbd-1", "nbd99999999999", "0"}) {
    EXPECT_THAT(ParseDevice(wrong).status().ToString(), HasSubstr("write /dev/nbd0")) << wrong;
  }
}

TEST_F(AttachDevice, SysfsTellsWhatIsAttached) {
  Put("nbd2/pid", "12\n");
  Put("nbd2/size", "2048\n");
  Put("nbd2/ro", "1\n");
  Put("nbd2/queue/logical_block_size", "4096\n");
  Put("nbd2/backend", "sluice nbd://h/e\n");
  Put("nbd10/pid", "13\n");
  Put("nbd1/size", "0\n");  // not attached
  Put("sda/size", "9\n");
  const std::vector<DeviceView> devices = AttachedDevices(path_);
  ASSERT_EQ(devices.size(), 2U);
  EXPECT_EQ(devices[1].index, 10U);
  EXPECT_EQ(devices[0].index, 2U);
  EXPECT_EQ(devices[0].size_bytes, kMiB);
  EXPECT_EQ(devices[0].block_bytes, 4096U);
  EXPECT_TRUE(devices[0].read_only);
  EXPECT_EQ(devices[0].identifier, "sluice nbd://h/e");
}

}  // namespace
}  // namespace sluice::attach
