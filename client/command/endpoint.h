// SPDX-License-Identifier: Apache-2.0
// One end of a copy or a comparison: a file, a block device, or a volume. Any number of threads may
// use one at once; every call blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "client/command/commands.h"
#include "sluice/client.h"

namespace sluice::command {

class Endpoint {
 public:
  virtual ~Endpoint() = default;

  virtual uint64_t size_bytes() const = 0;
  // Offsets and lengths are multiples of it.
  virtual uint32_t block_bytes() const { return 1; }
  // Changes whenever the contents may have, as far as can be told: of a file, when it was written.
  virtual std::string generation() const { return "-"; }
  // True: nothing is in it yet but zeroes.
  virtual bool blank() const { return false; }

  virtual Status Read(uint64_t offset, std::span<std::byte> into) = 0;
  virtual Status Write(uint64_t offset, std::span<const std::byte> from) = 0;
  // Reads as zeroes from then on, and takes no space if that can be had.
  virtual Status Zero(uint64_t offset, uint64_t length) = 0;
  virtual Status Flush() = 0;
  // All of it; one extent of data where nothing is known.
  virtual Result<std::vector<Extent>> Extents(uint64_t offset, uint64_t length) = 0;
  // Sums that are made where the data are, of chunks of Volume::kChecksumChunkBytes.
  virtual bool can_checksum() const { return false; }
  // REQUIRES: can_checksum().
  virtual Result<std::vector<Checksum>> Checksums(uint64_t offset, uint64_t length);
};

// A volume that others may write meanwhile, or one to be written. InvalidArgument: the options do
// not say how its server is spoken to.
Result<Volume> OpenToRead(const Client& client, const std::string& uri, const Options& options);
Result<Volume> OpenToWrite(const Client& client, const std::string& uri, const Options& options);

// Text with a scheme is a URI, all else is a path.
bool IsUri(const std::string& text);

Result<std::unique_ptr<Endpoint>> OpenSource(const Client& client, const std::string& text,
                                             const Options& options);
// A regular file gets the size. Unless `keep`, it is made if it is missing, and emptied first.
// Anything else must have room for `size_bytes`.
Result<std::unique_ptr<Endpoint>> OpenTarget(const Client& client, const std::string& text,
                                             uint64_t size_bytes, bool keep,
                                             const Options& options);

}  // namespace sluice::command
