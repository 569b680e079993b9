// SPDX-License-Identifier: Apache-2.0
// Which request goes next: bufq(9) of NetBSD, for one disk. The strategies are in bufq_<name>.cc,
// each stating its policy first; more are loaded by name as modules (BufqModule). A queue belongs
// to its disk's reactor: it neither locks nor, after Alloc(), allocates. What it holds are waiting
// runs -- single bios, or carriers (storage/carrier.h) -- and where they wait is where == kBufq.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/bio.h"

namespace sluice {

// What orders a sorting strategy: the byte offset, or the cylinder (offset / cylinder_bytes), first
// come first served within one.
enum class BufqSort : uint8_t { kRawBlock, kCylinder };

struct BufqOptions {
  BufqSort sort = BufqSort::kRawBlock;
  uint64_t cylinder_bytes = 1024 * 1024;
  // `fair`: weight of a flow, by Bio::flow; flows beyond the vector weigh 1.
  std::vector<uint32_t> flow_weights;
};

// A strategy's state: the policy alone. Counting, ownership and `where` are Bufq's.
class BufqPolicy {
 public:
  virtual ~BufqPolicy() = default;
  virtual void Put(Bio& bio) noexcept = 0;
  // The next bio, which stays: the same until the next Put, Get or Cancel, whatever the clock does.
  // Null when empty.
  virtual Bio* Peek(uint64_t now_ns) noexcept = 0;
  // Removes what Peek() would return.
  virtual Bio* Get(uint64_t now_ns) noexcept = 0;
  // REQUIRES: `bio` is in this queue. Constant or logarithmic time.
  virtual void Cancel(Bio& bio) noexcept = 0;
};

struct BufqStrategy {
  const char* name;     // [a-z0-9_]+
  const char* summary;  // one line for --list-strategies
  std::unique_ptr<BufqPolicy> (*make)(const BufqOptions& options);
};

// What a module's shared object exports, as `extern "C" const sluice::BufqModule
// sluice_bufq_module`.
struct BufqModule {
  uint32_t abi_version;  // kBufqAbi
  uint32_t bio_size;     // sizeof(Bio)
  BufqStrategy strategy;
};
inline constexpr uint32_t kBufqAbi = 1;

enum BufqFlag : uint8_t {
  kBufqExact =
      1,  // Alloc(): fail with NotFound (ENOENT) instead of taking the default with a warning
};
inline constexpr char kBufqAny[] = "any";                   // whatever is there
inline constexpr char kBufqDiskDefault[] = "disk_default";  // `deadline`

// The strategies that there are. Control path, any thread.
class BufqRegistry {
 public:
  static BufqRegistry& Get();

  // AlreadyExists for a name that is taken; InvalidArgument for a name that is not [a-z0-9_]+.
  absl::Status Register(const BufqStrategy& strategy);
  // FailedPrecondition (EBUSY) while a queue uses it; NotFound.
  absl::Status Unregister(absl::string_view name);

  // Folder that modules are loaded from, as NAME.so, when a name is not registered. Empty: none are
  // loaded. Set by the config alone.
  void SetModuleFolder(std::string folder);

  std::vector<BufqStrategy> List() const;  // by name
};

// One disk's queue.
class Bufq {
 public:
  // A strategy's name, kBufqAny or kBufqDiskDefault. An unknown name is looked for as a module
  // first (blocking: call it on the worker or at start).
  static absl::StatusOr<std::unique_ptr<Bufq>> Alloc(absl::string_view name, uint8_t flags,
                                                     const BufqOptions& options);
  ~Bufq();  // REQUIRES: empty

  absl::string_view strategy_name() const;

  void Put(Bio& bio) noexcept;         // where becomes kBufq
  Bio* Get(uint64_t now_ns) noexcept;  // null when empty; where becomes kSubmitter
  Bio* Peek(uint64_t now_ns) noexcept;
  void Cancel(Bio& bio) noexcept;  // REQUIRES: in this queue
  size_t size() const noexcept;
  bool empty() const noexcept { return size() == 0; }

  // Empties the queue, in its order, into `each` (bufq_drain: the caller ends them with EIO).
  template <typename F>
  void Drain(uint64_t now_ns, F&& each) noexcept {
    while (Bio* bio = Get(now_ns)) each(*bio);
  }
  // bufq_move: all that waits in `from` goes to `to`, in from's order. Nothing is lost.
  static void Move(Bufq& from, Bufq& to, uint64_t now_ns) noexcept;
};

}  // namespace sluice
