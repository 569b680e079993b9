// SPDX-License-Identifier: Apache-2.0
// How far a copy has durably come, in a small file that is replaced as a whole; so a copy that was
// interrupted goes on where it was.
#pragma once

#include <cstdint>
#include <string>

#include "sluice/status.h"

namespace sluice::command {

// What is copied; a journal of anything else is refused.
struct CopyIdentity {
  std::string source, target;
  uint64_t size_bytes = 0;
  std::string generation;  // of the source
  bool operator==(const CopyIdentity&) const = default;
};

class Journal {
 public:
  // `path` empty: nothing is kept.
  Journal(std::string path, CopyIdentity identity)
      : path_(std::move(path)), identity_(std::move(identity)) {}

  // Bytes that are done and durable; 0 without a file.
  Result<uint64_t> Load() const;
  // After what is done is durable. A crash may bring an older journal back, never a wrong one.
  Status Save(uint64_t done_bytes) const;
  // The copy is complete: no file is left.
  void Remove() const;

 private:
  std::string TextOf(uint64_t done_bytes) const;

  const std::string path_;
  const CopyIdentity identity_;
};

}  // namespace sluice::command
