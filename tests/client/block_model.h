// SPDX-License-Identifier: Apache-2.0
// What a volume's blocks may hold: each write carries its block's next version, and what is read is
// the last answered version or one that was asked for after it.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <latch>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "sluice/volume.h"

namespace sluice {

class BlockModel {
 public:
  static constexpr size_t kBlock = 4096;

  explicit BlockModel(size_t blocks) : blocks_(blocks) {}

  // Writes the next version of `count` blocks from `block` on. Its outcome is noted when it comes.
  void Write(const Volume& volume, size_t block, size_t count, uint32_t flags = kNone) {
    auto data = std::make_shared<std::vector<uint64_t>>(count * kBlock / sizeof(uint64_t));
    std::vector<uint64_t> versions(count);
    {
      const std::lock_guard lock(mutex_);
      for (size_t i = 0; i < count; ++i) {
        versions[i] = ++blocks_[block + i].asked;
        for (size_t word = 0; word < kWords; ++word) {
          (*data)[i * kWords + word] = Word(block + i, versions[i], word);
        }
      }
    }
    ++outstanding_;
    volume.AsyncWrite(
        block * kBlock, std::as_bytes(std::span(*data)), flags,
        [this, data, block, versions](const Status& status) { Note(block, versions, status); });
  }

  // Waits for all outcomes.
  void Await() {
    for (uint32_t left; (left = outstanding_.load()) != 0;) outstanding_.wait(left);
  }

  uint64_t done() const { return done_.load(); }
  uint64_t unknown() const { return unknown_.load(); }
  uint64_t refused() const { return refused_.load(); }
  std::string last_error() const {
    const std::lock_guard lock(mutex_);
    return last_error_;
  }

  // Nothing is outstanding.
  void Check(const Volume& volume) { ASSERT_EQ(Fault(volume), ""); }

  // Reads every block and holds it against what may be there; what is wrong first, if anything.
  std::string Fault(const Volume& volume) {
    std::vector<uint64_t> read(blocks_.size() * kWords);
    const Status status = volume.Read(0, std::as_writable_bytes(std::span(read)));
    if (!status.ok()) return status.ToString();
    const std::lock_guard lock(mutex_);
    for (size_t block = 0; block < blocks_.size(); ++block) {
      const uint64_t* const words = &read[block * kWords];
      const uint64_t version = words[0] == 0 ? 0 : words[0] - block * kSalt;
      const std::string name = "block " + std::to_string(block);
      if (version < blocks_[block].answered) return name + " was reverted";
      if (version > blocks_[block].asked) return name + " holds what was never written";
      for (size_t word = 0; word < kWords; ++word) {
        const uint64_t expected = version == 0 ? 0 : Word(block, version, word);
        if (words[word] != expected) return name + " is torn";
      }
    }
    return "";
  }

 private:
  static constexpr size_t kWords = kBlock / sizeof(uint64_t);
  static constexpr uint64_t kSalt = uint64_t{1} << 32;
  struct Block {
    uint64_t asked = 0;     // version
    uint64_t answered = 0;  // version
  };

  static uint64_t Word(size_t block, uint64_t version, size_t word) {
    return word == 0 ? version + block * kSalt : (version * 31 + block) * 1000 + word;
  }

  void Note(size_t block, const std::vector<uint64_t>& versions, const Status& status) {
    {
      const std::lock_guard lock(mutex_);
      if (status.ok()) {
        for (size_t i = 0; i < versions.size(); ++i) {
          blocks_[block + i].answered = std::max(blocks_[block + i].answered, versions[i]);
        }
      } else {
        last_error_ = status.ToString();
      }
    }
    ++(status.ok() ? done_ : status.code() == StatusCode::kUnknownOutcome ? unknown_ : refused_);
    if (--outstanding_ == 0) outstanding_.notify_all();
  }

  mutable std::mutex mutex_;
  std::vector<Block> blocks_;  // guarded by mutex_, like last_error_
  std::string last_error_;
  std::atomic<uint32_t> outstanding_ = 0;
  std::atomic<uint64_t> done_ = 0, unknown_ = 0, refused_ = 0;
};

}  // namespace sluice
