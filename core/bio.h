// SPDX-License-Identifier: Apache-2.0
// One I/O request: the I/O aspect alone -- where in memory, where on the disk, what to do, what
// came of it.
//
// Ownership. A bio is owned by exactly one party at a time and passing it on passes ownership:
//   submitter -> Submit() -> target (volume, disk, ...) -> Done() -> home reactor: callbacks, then
//   `release`.
// It lives on one reactor at a time and crosses to another by mailbox alone, so no field is atomic.
//
// Completion. `pending` starts at 1, the submitter's own hold. Nest() adds one hold a child; all
// children are made before one is submitted, and they come home to the reactor that nested them
// before they count, so no child can complete its parent early. No callback runs inside Submit() or
// Done(): a bio without holds is listed on its home reactor, which later in the turn runs its
// callbacks (last pushed first), lets it count on its parent, and calls `release`, in a loop and
// never by recursion. A callback may submit anew.
//
// Memory. `segs` is never modified once submitted and may be shared: a child views a part of its
// parent's vector through seg_skip and length; `length` alone says where the data ends. Who frees
// the memory is an issue for `release` alone:
//   loaned   `release` gives the memory back to a submitter who goes on using it (an NBD reply
//   sends out of it); gifted   `release` frees it (a received payload belongs to its bio); shared
//   the target lends its own pages, copied if they are written meanwhile (Loan, below).
//
// Source: NetBSD's nestiobuf (first error wins, counters), Linux's bio (immutable vectors, the
// submitter's hold).
#pragma once

#include <sys/uio.h>

#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set_hook.hpp>
#include <cstddef>
#include <cstdint>

namespace sluice {

class Target;
struct Bio;

using Segment = iovec;  // handed to the kernel as it is

// How a bio stands in a list (arrival order) and in a tree (offset order). A hook knows whether it
// is linked, and asserts it.
using QueueHook = boost::intrusive::list_member_hook<>;
using TreeHook = boost::intrusive::set_member_hook<boost::intrusive::optimize_size<true>>;

enum class Op : uint8_t { kRead, kWrite, kFlush, kTrim, kZero, kCache };
inline constexpr int kOps = 6;

// Changes what the disk holds: kept in order by the range guard, refused on a read-only disk.
constexpr bool IsWriteType(Op op) { return op == Op::kWrite || op == Op::kTrim || op == Op::kZero; }
// Has memory behind it.
constexpr bool HasData(Op op) { return op == Op::kRead || op == Op::kWrite; }
const char* OpName(Op op);

enum BioFlag : uint8_t {
  kFua = 1,       // done means: on stable storage
  kNoGather = 2,  // never a rider
  kNoHole = 4,    // kZero: allocate
  kFastZero = 8,  // kZero: fail with ENOTSUP at once unless faster than writing
  kBorrow = 16,   // kRead: no memory is given; the target may lend its own (Limits::lend_bytes_max)
  kLent = 32,     // set by the target on a kBorrow read: `segs` is the vector of a Loan
  kCarrier = 64,  // a gathered run (storage/carrier.h)
};

// Which queue holds the bio now; tells Cancel() where to look.
enum class Where : uint8_t {
  kSubmitter,
  kMailbox,
  kWaiting,
  kGather,
  kRider,
  kBufq,
  kDevice,
  kNested,
  kDone
};

// One entry of a bio's callback queue. Its memory is its owner's and lives until it has run or was
// dropped by Abandon().
struct Callback {
  void (*run)(Bio& bio, void* context) noexcept = nullptr;
  void* context = nullptr;
  Callback* next = nullptr;
};

// Marks: s set by the submitter before Submit(), constant until done; q owned by the queue that
// holds the bio; o written only by the party that owns the bio now; h touched by the home reactor
// only.
struct alignas(64) Bio {
  // Line 0: all that a queue needs.
  QueueHook fifo;       // q  arrival order
  TreeHook sort;        // q  offset order
  uint64_t offset = 0;  // s  bytes, in target's space
  uint32_t length =
      0;  // s  bytes; data at most kMaxTransfer, other effects at most 1 GiB; 0 for kFlush
  Op op = Op::kRead;                // s
  uint8_t flags = 0;                // s  BioFlag (kLent is o)
  uint8_t prio = 1;                 // s  0 most urgent, 1 normal, 2 idle (bufq's classes)
  Where where = Where::kSubmitter;  // o
  uint64_t born_ns = 0;             // s  set by Submit() unless set already: age and latency
  // Line 1: all that is needed to carry it out and to report it.
  const Segment* segs = nullptr;  // s  memory; null when the operation has none
  uint32_t seg_skip = 0;          // s  bytes of segs[0] before the data
  uint16_t seg_count = 0;         // s
  uint16_t flow = 0;              // s  (export, peer): whom `fair` charges
  uint32_t resid = 0;             // o  bytes not transferred; Submit() sets it to length
  uint32_t stage_ns = 0;          // o  when the last stage ended, after born_ns (core/stats.h)
  uint16_t pending = 1;           // o  holds: the submitter's and one a child
  uint16_t finished = 0;          // o  children that came home
  int16_t error = 0;              // o  errno; the first wins
  uint16_t home = 0;  // s  reactor on which callbacks and release run; Submit() and Nest() set it
  Target* target = nullptr;       // s
  Bio* parent = nullptr;          // s
  Callback* callbacks = nullptr;  // h  last pushed runs first
  void (*release)(Bio& bio) noexcept =
      nullptr;  // s  h  frees the bio and its memory; runs exactly once
};
static_assert(sizeof(Bio) == 128 && offsetof(Bio, segs) == 64);

using BioFifo =
    boost::intrusive::list<Bio, boost::intrusive::member_hook<Bio, QueueHook, &Bio::fifo>,
                           boost::intrusive::constant_time_size<false>>;

// The largest data bio, bytes, and the most segments it may come with: doors cut longer requests
// into several bios.
inline constexpr uint32_t kMaxTransfer = 1024 * 1024;
inline constexpr uint16_t kMaxSegments = 64;
// The largest trim or zero bio, bytes.
inline constexpr uint32_t kMaxEffect = 1024 * 1024 * 1024;

// Hands the bio to its target, on whatever reactor that lives. Never blocks, never fails: errors
// arrive at completion. REQUIRES: a reactor's thread; target, op, range and memory set; inside the
// target's bounds; aligned to its block.
void Submit(Bio& bio) noexcept;

// Drops one hold; the last one sends the bio home. `error` is a positive errno or 0.
// REQUIRES: the thread that owns the bio now.
void Done(Bio& bio, int error) noexcept;

// Makes `child` a part of `parent`: the parent gains a hold, the child inherits op, flags, prio,
// flow, birth. The caller sets its target, range, memory and release, and submits it once all its
// siblings are made.
void Nest(Bio& parent, Bio& child) noexcept;

// Pushes a callback; it runs before those pushed earlier. REQUIRES: home reactor; not abandoned;
// not completed, unless it is one of the bio's own callbacks that pushes.
void PushCallback(Bio& bio, Callback& callback) noexcept;

// Drops the callbacks that have not run; what is still queued is cancelled (ECANCELED), what is at
// the device ends there. `release` runs once, when nobody uses the bio or its memory any more.
// Allowed at any time between Submit() and release, once; in the bio's own callbacks too. REQUIRES:
// home reactor.
void Abandon(Bio& bio) noexcept;

// For a device that hangs: the root request of `bio` is answered with `error` now -- its callbacks
// run on their home, later in a turn -- while every bio and its memory stay where they are until
// the kernel gives them back. Callbacks of bios below the root run when those are done, as ever.
// REQUIRES: the thread that owns the bio now; not done; error > 0.
void Expire(Bio& bio, int error) noexcept;

// Runs what completion means for a bio that came home. Called by the reactor's loop alone.
void Finish(Bio& bio) noexcept;
// The reactor's mailbox calls these for its own messages.
void DeliverAbandon(Bio& bio) noexcept;
void DeliverAbandonAck(Bio& bio) noexcept;
void DeliverExpire(Bio& bio) noexcept;

// Copies between a bio's memory and flat memory, `at` bytes into the bio. REQUIRES: at + size <=
// length.
void CopyFromBio(const Bio& bio, uint32_t at, void* to, size_t size) noexcept;
void CopyToBio(const Bio& bio, uint32_t at, const void* from, size_t size) noexcept;

// Writes the part [at, at + size) of a bio's memory as segments into `out`; returns how many.
// REQUIRES: room for them.
size_t SliceSegments(const Bio& bio, uint32_t at, uint32_t size, Segment* out,
                     size_t room) noexcept;

// Pages that a target lent to a kBorrow read. The borrower reads them, never writes, and calls
// ReturnLoan() once, on the target's home reactor; until then the lender copies a page before it
// changes it.
struct Loan {
  void (*give_back)(Loan& loan) noexcept;
  uint32_t count;
  Segment* segs() { return reinterpret_cast<Segment*>(this + 1); }  // what Bio::segs points to
};
Loan& LoanOf(const Bio& bio) noexcept;  // REQUIRES: kLent
void ReturnLoan(Bio& bio) noexcept;     // REQUIRES: kLent; clears it

}  // namespace sluice
