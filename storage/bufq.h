// SPDX-License-Identifier: Apache-2.0
// Which request goes next: bufq(9) of NetBSD, for one disk. The strategies are in bufq_<name>.cc,
// each stating its policy first; more are loaded by name as modules (BufqModule). A queue belongs
// to its disk's reactor: it neither locks nor, after Alloc(), allocates. What it holds are waiting
// runs -- single bios, or carriers (storage/carrier.h) -- and where they wait is where == kBufq.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/bio.h"

namespace sluice {

// What orders a sorting strategy: the byte offset, or the cylinder (offset / cylinder_bytes), first
// come first served within one.
enum class BufqSort : uint8_t { kRawBlock, kCylinder };

inline constexpr uint64_t kCylinderBytesMax = uint64_t{1} << 62;

struct BufqOptions {
  BufqSort sort = BufqSort::kRawBlock;
  uint64_t cylinder_bytes = 1024 * 1024;  // at least 1, at most kCylinderBytesMax
  // `fair`: weight of a flow, by Bio::flow; flows beyond the vector, and a weight of 0, weigh 1.
  std::vector<uint32_t> flow_weights;
};

// A strategy's state: the policy alone. Counting, ownership, `where` and stable peeks are Bufq's.
// No call allocates, and none takes more than logarithmic time (amortised).
class BufqPolicy {
 public:
  virtual ~BufqPolicy() = default;
  // A bio's offset and op stay while it waits, its length may grow (a carrier's back merge):
  // nothing may be derived from the length before Get().
  virtual void Put(Bio& bio) noexcept = 0;
  // The next bio, which stays; null when empty. A function of what was put, got and cancelled and
  // of now_ns alone: Bufq hands in the same now_ns until something changes, which makes peeks
  // stable.
  virtual Bio* Peek(uint64_t now_ns) noexcept = 0;
  // Removes what Peek(now_ns) returns.
  virtual Bio* Get(uint64_t now_ns) noexcept = 0;
  // REQUIRES: `bio` is in this queue.
  virtual void Cancel(Bio& bio) noexcept = 0;
};

struct BufqStrategy {   // its strings live as long as the process
  const char* name;     // IsBufqName()
  const char* summary;  // one line for --list-strategies
  std::unique_ptr<BufqPolicy> (*make)(const BufqOptions& options);
};

// A name that a strategy can have: [a-z0-9_]+, at most 32 characters.
bool IsBufqName(absl::string_view name);

// What a module's shared object NAME.so exports: a definition of sluice_bufq_module, whose strategy
// is called NAME. It is built from this header by the same compiler settings and brings along what
// it calls: the process exports nothing to it. An accepted module stays mapped until exit.
struct BufqModule {
  uint32_t abi_version;  // kBufqAbi; these two are read first, the rest only if they are right
  uint32_t bio_size;     // sizeof(Bio)
  BufqStrategy strategy;
};
inline constexpr uint32_t kBufqAbi = 1;

enum BufqFlag : uint8_t {
  kBufqExact = 1,  // Alloc(): fail instead of taking the default with a warning
};
// Selections, which no strategy can be called.
inline constexpr char kBufqAny[] = "any";                   // the cheapest: `fcfs`
inline constexpr char kBufqDiskDefault[] = "disk_default";  // `deadline`

// The strategies that there are. Control path, any thread.
class BufqRegistry {
 public:
  static BufqRegistry& Get();

  // AlreadyExists for a name that is taken; InvalidArgument for one that no strategy can have.
  absl::Status Register(const BufqStrategy& strategy);
  // FailedPrecondition (EBUSY) while a queue uses it; NotFound.
  absl::Status Unregister(absl::string_view name);

  // Folder that modules are loaded from, as NAME.so, when a name is not registered. Empty: none are
  // loaded. Set by the config alone.
  void SetModuleFolder(std::string folder);

  std::vector<BufqStrategy> List() const;  // by name
  // Whether a registered one was loaded from a file.
  bool IsModule(absl::string_view name) const;

 private:
  friend class Bufq;
  struct Entry {
    BufqStrategy strategy;
    size_t users = 0;     // queues; Unregister() needs 0, so that a user's Entry stays where it is
    bool loaded = false;  // from a file
  };

  BufqRegistry();  // holds the built-in strategies

  // The rule of Bufq::Alloc(), with one user more. The answer is the caller's until Release().
  absl::StatusOr<Entry*> Acquire(absl::string_view name, uint8_t flags);
  void Release(Entry& entry);
  Entry* FindAndHold(absl::string_view name);  // null: there is none
  absl::StatusOr<Entry*> Load(absl::string_view name);

  mutable std::mutex mutex_;  // guards all below; never held while a module is opened
  std::string module_folder_;
  std::map<std::string, Entry> entries_;
};

// One disk's queue.
class Bufq {
 public:
  // A strategy's name, kBufqAny or kBufqDiskDefault. An unknown name is looked for as a module
  // first (blocking: call it on the worker or at start). If there is none either, or it is refused:
  // with kBufqExact NotFound (ENOENT), or FailedPrecondition for a refused module and
  // InvalidArgument for an impossible name; without it kBufqDiskDefault and a warning that says the
  // same. InvalidArgument for impossible options.
  static absl::StatusOr<std::unique_ptr<Bufq>> Alloc(absl::string_view name, uint8_t flags,
                                                     const BufqOptions& options);
  ~Bufq();  // REQUIRES: empty

  absl::string_view strategy_name() const;

  void Put(Bio& bio) noexcept;         // where becomes kBufq
  Bio* Get(uint64_t now_ns) noexcept;  // null when empty; where becomes kSubmitter
  // What Get() will return: the same until the next Put, Get, Cancel or Drain, whatever the clock
  // does meanwhile. Null when empty.
  Bio* Peek(uint64_t now_ns) noexcept;
  void Cancel(Bio& bio) noexcept;  // REQUIRES: in this queue; where becomes kSubmitter
  size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size() == 0; }

  // Empties the queue, in its order, into `each` (bufq_drain: the caller ends them with EIO).
  template <typename F>
  void Drain(uint64_t now_ns, F&& each) noexcept {
    while (Bio* bio = Get(now_ns)) each(*bio);
  }
  // bufq_move: all that waits in `from` goes to `to`, in from's order. Nothing is lost.
  // REQUIRES: two queues.
  static void Move(Bufq& from, Bufq& to, uint64_t now_ns) noexcept;

 private:
  Bufq(BufqRegistry::Entry& entry, std::unique_ptr<BufqPolicy> policy);
  // The time that the policy sees: it stands still from a peek to the next change.
  uint64_t Now(uint64_t now_ns) const noexcept { return peeked_ ? peeked_at_ns_ : now_ns; }

  BufqRegistry::Entry& entry_;
  std::unique_ptr<BufqPolicy> policy_;
  size_t size_ = 0;
  uint64_t peeked_at_ns_ = 0;
  bool peeked_ = false;
};

}  // namespace sluice

// A module defines it; nobody else does.
extern "C" const sluice::BufqModule sluice_bufq_module;
