// SPDX-License-Identifier: Apache-2.0
// Keeps an attached device alive: makes lost connections again, passes growth on, detaches. The
// decisions alone, without threads, clock or signals: its owner calls Step() when a descriptor of
// AddEvents() wakes it and at wake_ns() at the latest.
//
//   attached --a connection ends--> reconnecting --all again--> attached
//                                   reconnecting --none for give_up_ns--> gave up
//   any --Stop(), once nobody uses the device--> detached
#pragma once

#include <poll.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/attach/geometry.h"
#include "client/attach/kernel.h"
#include "client/attach/socket.h"

namespace sluice::attach {

// The way to the server: a seam. Calls block for seconds at most.
class Dialer {
 public:
  struct Dialed {
    Socket socket;  // in transmission phase
    Geometry geometry;
  };

  virtual ~Dialer() = default;
  virtual absl::StatusOr<Dialed> Dial() = 0;
  // What the export is now, by a connection that is closed again.
  virtual absl::StatusOr<Geometry> Ask() = 0;
};

// A device that is attached.
struct Attachment {
  uint32_t index = 0;
  std::string identifier;
  Device device;
  // One for each connection. One without a descriptor was made by a keeper that is gone: the kernel
  // alone tells of its end.
  std::vector<Socket> links;
};

class Keeper {
 public:
  enum class Verdict : uint8_t {
    kKeep,
    kDetached,  // by Stop(), or by somebody else behind our back
    kGaveUp,    // the server was gone for too long; the device is disconnected and answers EIO
  };
  struct Limits {
    uint64_t give_up_ns = 0;  // without any connection; UINT64_MAX: never
    uint64_t poll_ns = 0;     // between two looks whether the export has grown
  };
  // What the keeper has to tell an operator, one line without its end.
  using Say = std::function<void(const std::string&)>;

  // `kernel` and `dialer` outlive it.
  Keeper(Kernel& kernel, Dialer& dialer, Attachment attachment, const Limits& limits, Say say,
         uint64_t now_ns);

  // Does what is due. After another verdict than kKeep it must not be called again.
  Verdict Step(uint64_t now_ns);
  uint64_t wake_ns() const { return wake_ns_; }
  // What poll(2) is to watch.
  void AddEvents(std::vector<pollfd>& events) const;

  // To detach: as soon as nobody uses the device, or, with force, whoever uses it.
  void Stop(bool force);
  // The export may have changed: the next Step() asks.
  void Suspect() { next_poll_ns_ = 0; }

  const Device& device() const { return attachment_.device; }
  uint32_t live_links() const;
  bool stopping() const { return stopping_; }

 private:
  struct Link {
    Socket socket;
    bool alive = true;
    bool doubtful = false;  // handed over before the driver had told of a place for it
  };

  void NoticeDead(uint64_t now_ns);
  void LinkDied(Link& link, uint64_t now_ns);
  uint32_t dead_links() const;
  // How many sockets the driver would take now: it takes one only in place of a connection that it
  // holds for dead itself, and ignores the others without a word.
  uint32_t Replaceable(uint64_t now_ns) const;
  Verdict Reconnect(uint64_t now_ns);
  // Gives the driver so many new connections. FailedPrecondition and others: what stands in the
  // way.
  absl::Status Replace(uint32_t count);
  Verdict GiveUp();
  // The device is still attached, and by us: the index alone may be somebody else's by now.
  bool IsOurs();
  Verdict Lost();
  void LookForGrowth();
  Verdict TryDetach();
  // Says what is new, not the same again and again.
  void SayOnce(const std::string& text);

  Kernel& kernel_;
  Dialer& dialer_;
  Attachment attachment_;  // its links are in links_
  std::vector<Link> links_;
  Limits limits_;
  Say say_;
  std::string said_;
  bool stopping_ = false;
  bool force_ = false;
  uint32_t free_places_ = 0;    // connections the driver has told dead that have no successor yet
  uint64_t lost_since_ns_ = 0;  // when the last connection ended, of those there were
  uint64_t next_try_ns_ = 0;
  uint64_t pause_ns_ = 0;  // between two tries
  uint64_t next_poll_ns_ = 0;
  uint64_t wake_ns_ = 0;
};

}  // namespace sluice::attach
