// SPDX-License-Identifier: Apache-2.0
// The client's side of the fixed newstyle handshake, over a blocking socket. The server is not
// trusted: whatever breaks the protocol is a DataLoss that says what. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/nbd_connection.h"
#include "proto/bytes.h"
#include "proto/nbd_handshake.h"

namespace sluice {

class NbdHandshake {
 public:
  // The socket is the handshake's until Take().
  explicit NbdHandshake(int fd) { connection_.fd_ = fd; }

  // First of all.
  absl::Status Greet();
  // Greeted; at most one of the three ends the handshake: Go() with the transmission phase.
  absl::Status Go(const std::string& name, const NbdWishes& wishes);
  // What INFO tells of one export; then ABORT.
  absl::StatusOr<NbdExport> Info(const std::string& name);
  // All exports of the server, each with what INFO tells; then ABORT.
  absl::StatusOr<std::vector<NbdExport>> List();

  NbdConnection Take() { return std::move(connection_); }

 private:
  struct Answer {
    nbd::OptionReply type = {};
    std::vector<uint8_t> data;
  };

  absl::Status SendOption(nbd::Option option, ConstByteSpan data);
  absl::StatusOr<Answer> NextAnswer();
  absl::Status AskForStructured(bool demanded);
  absl::Status AskForExtents(const std::string& name);
  // GO or INFO.
  absl::Status Query(nbd::Option option, const std::string& name);
  // What the last Query() told.
  void Tell(NbdExport& found) const;
  absl::Status Abort();
  absl::Status TakeInfo(ConstByteSpan data, bool& told);
  absl::Status Refused(const std::string& name, const Answer& answer);

  NbdConnection connection_;
  nbd::Option option_ = {};
};

// To the last byte. Unavailable: the connection is lost, or silent for longer than its timeout.
absl::Status SendAll(int fd, ConstByteSpan bytes);

}  // namespace sluice
