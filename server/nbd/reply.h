// SPDX-License-Identifier: Apache-2.0
// Replies on their way out: rendered once into pieces of memory, sent in order of completion, many
// in one vector. Data is sent from where it lies: a request's own parts, or pages lent to it. One
// session's, on its reactor's thread.
#pragma once

#include <cstdint>
#include <vector>

#include "core/bio.h"
#include "server/nbd/request.h"

namespace sluice::nbd {

class ReplyQueue {
 public:
  // The pieces of one reply are added in order and ended by End(). Their memory, and the request,
  // stay until Sent() has reported it.
  void Add(const void* data, size_t size);
  void End(ServedRequest& request);

  bool empty() const { return first_ == pieces_.size(); }

  // Fills `out` with as much as there is room for; returns how many entries.
  size_t Output(Segment* out, size_t room) const;

  // `bytes` of what Output() gave were sent; calls done(request) for each reply whose last byte was
  // among them. REQUIRES: bytes is at most what was given out.
  template <typename F>
  void Sent(size_t bytes, F&& done);

  void Clear();

 private:
  struct Piece {
    Segment memory;
    ServedRequest* last_of = nullptr;  // the reply that ends with it
  };

  void Compact();

  std::vector<Piece> pieces_;
  size_t first_ = 0;  // pieces before it are sent
  size_t skip_ = 0;   // bytes of pieces_[first_] that are sent
};

// Renders the answer to an answered request: its error if it has one, else what its command calls
// for. With `structured`, errors and all answers to READ and BLOCK_STATUS are chunks; else
// everything is a simple reply.
void Render(ServedRequest& request, bool structured, ReplyQueue& queue);

template <typename F>
void ReplyQueue::Sent(size_t bytes, F&& done) {
  while (bytes > 0) {
    SLUICE_CHECK(!empty());
    const Piece piece = pieces_[first_];
    const size_t left = piece.memory.iov_len - skip_;
    if (bytes < left) {
      skip_ += bytes;
      return;
    }
    bytes -= left;
    skip_ = 0;
    ++first_;
    if (piece.last_of != nullptr) done(*piece.last_of);
  }
  Compact();
}

}  // namespace sluice::nbd
