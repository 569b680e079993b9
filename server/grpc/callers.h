// SPDX-License-Identifier: Apache-2.0
// Who calls. gRPC tells a handler the address of the other end of its socket and nothing else; a
// relayed connection (relay.h) therefore comes over a socket that is bound to a name of its own in
// the abstract name space, and this table knows whose name that is. The name is random, so that
// nobody can take it in another network name space and come in through the unix door with it.
//
// Any thread.
#pragma once

#include <mutex>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/access.h"

namespace sluice::rpc {

struct Caller {
  Identity identity;
  std::string text;  // for logs and session lists: "127.0.0.1:4242 \"vm7\""
};

class Callers {
 public:
  // A row of the table, until it dies. A call of the connection that is handled later is nobody's.
  class Row {
   public:
    Row() = default;
    Row(Callers& callers, Caller caller);
    Row(Row&& other) noexcept;
    Row& operator=(Row&& other) noexcept;
    ~Row();

    // Binds an unconnected or paired unix socket, so that gRPC at the other end tells this row.
    absl::Status Bind(int fd) const;

   private:
    Callers* callers_ = nullptr;
    std::string name_;
  };

  // `peer`: what ServerContext::peer() says. Who came through the unix door or over plain TCP is
  // in no table and has the rights of that door: all.
  Caller Find(const std::string& peer) const;

 private:
  mutable std::mutex mutex_;                       // not absl's: see call.h
  absl::flat_hash_map<std::string, Caller> rows_;  // guarded by mutex_; by name
};

}  // namespace sluice::rpc
