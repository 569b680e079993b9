// SPDX-License-Identifier: Apache-2.0
// Places for a test's disks: folders, mounted file systems, block devices. Each is gone again when
// its object is. All but TempDir need root.
#pragma once

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "core/check.h"

namespace sluice::sim {

class TempDir {
 public:
  explicit TempDir(const std::string& under = "/tmp") : path_(under + "/sluice_test_XXXXXX") {
    SLUICE_CHECK(mkdtemp(path_.data()) != nullptr);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() { std::filesystem::remove_all(path_); }

  const std::string& path() const { return path_; }
  std::string At(const std::string& name) const { return path_ + "/" + name; }
  // A sparse file of so many bytes; returns its path.
  std::string Sparse(const std::string& name, uint64_t bytes) const {
    const int fd = open(At(name).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    SLUICE_CHECK(fd >= 0 && ftruncate(fd, static_cast<off_t>(bytes)) == 0);
    close(fd);
    return At(name);
  }

 private:
  std::string path_;
};

// A fresh file system without a device, mounted on a folder of its own.
class MountedDir {
 public:
  explicit MountedDir(const char* type, const char* options = "") {
    SLUICE_CHECK(mount("none", dir_.path().c_str(), type, 0, options) == 0);
  }
  ~MountedDir() { umount2(dir_.path().c_str(), MNT_DETACH); }
  const TempDir& dir() const { return dir_; }

 private:
  TempDir dir_;
};

// A loop device on a file; the kernel frees it when it was last closed.
class LoopDevice {
 public:
  LoopDevice(const std::string& file, uint32_t block, bool read_only = false) {
    const int backing = open(file.c_str(), (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    const int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    SLUICE_CHECK(backing >= 0 && control >= 0);
    loop_config config{};
    config.fd = static_cast<uint32_t>(backing);
    config.block_size = block;
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
    if (read_only) config.info.lo_flags |= LO_FLAGS_READ_ONLY;
    // Another process may take the number that we were told is free.
    for (int tries = 0; tries < 100 && fd_ < 0; ++tries) {
      path_ = "/dev/loop" + std::to_string(ioctl(control, LOOP_CTL_GET_FREE));
      fd_ = open(path_.c_str(), (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
      if (fd_ < 0 || ioctl(fd_, LOOP_CONFIGURE, &config) == 0) continue;
      close(fd_);
      fd_ = -1;
    }
    SLUICE_CHECK(fd_ >= 0);
    close(control);
    close(backing);
  }
  LoopDevice(const LoopDevice&) = delete;
  LoopDevice& operator=(const LoopDevice&) = delete;
  ~LoopDevice() { close(fd_); }
  // Cache flushes that it has been asked for (Documentation/block/stat.rst, the 16th number).
  uint64_t flushes() const {
    std::ifstream stat("/sys/block/" + path_.substr(path_.rfind('/') + 1) + "/stat");
    uint64_t number = 0;
    for (int i = 0; i < 16; ++i) stat >> number;
    SLUICE_CHECK(static_cast<bool>(stat));
    return number;
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int fd_ = -1;
};

// Compressed memory as a block device that knows discard: blocks of 4096.
class ZramDevice {
 public:
  static bool Possible() { return access("/sys/class/zram-control/hot_add", R_OK) == 0; }

  explicit ZramDevice(uint64_t bytes) {
    std::ifstream("/sys/class/zram-control/hot_add") >> number_;
    SLUICE_CHECK(number_ >= 0);
    std::ofstream(Sys() + "disksize") << bytes;
  }
  ZramDevice(const ZramDevice&) = delete;
  ZramDevice& operator=(const ZramDevice&) = delete;
  ~ZramDevice() {
    std::ofstream(Sys() + "reset") << 1;
    std::ofstream("/sys/class/zram-control/hot_remove") << number_;
  }
  std::string path() const { return "/dev/zram" + std::to_string(number_); }
  // Bytes that hold something, before compression.
  uint64_t bytes_used() const {
    uint64_t used = 0;
    std::ifstream(Sys() + "mm_stat") >> used;
    return used;
  }

 private:
  std::string Sys() const { return "/sys/block/zram" + std::to_string(number_) + "/"; }
  int number_ = -1;
};

}  // namespace sluice::sim
