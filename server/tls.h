// SPDX-License-Identifier: Apache-2.0
// TLS of a door that lets certificate holders in and nobody else: TLS 1.2 or 1.3, a certificate of
// the client's that the configured authority signed, and one application protocol (ALPN, RFC 7301)
// that both must name. Nothing of the inner stream is seen before all that is verified. No
// resumption, no renegotiation, no compression: what is asked once is not got round by an old
// ticket.
//
// OpenSSL 3 stays inside tls.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace sluice {

// Paths of PEM files.
struct TlsFiles {
  std::string cert;       // the server's certificate, then its chain
  std::string key;        // the private key, not encrypted
  std::string client_ca;  // the authorities whose certificates are let in
};

// What connections are begun with: immutable, shared by those that it began. Any thread.
class TlsContext {
 public:
  // Reads and checks the files; an error names the file and the cure. `warnings`: what is served
  // all the same, one line each. Blocks.
  static absl::StatusOr<std::shared_ptr<const TlsContext>> Load(const TlsFiles& files,
                                                                const std::string& protocol,
                                                                std::vector<std::string>& warnings);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

 private:
  friend class TlsStream;
  struct Inside;
  explicit TlsContext(std::unique_ptr<Inside> inside);
  std::unique_ptr<Inside> inside_;
};

// The context that new connections get, renewed when the files change. A set of files that does not
// load keeps the old one in use and is told once. The files are looked at, every second, and read
// on a thread of its own, so that a file system that hangs holds nobody up. Any thread.
class TlsKeeper {
 public:
  // REQUIRES: `context` was loaded from `files`. Looks at them, which blocks.
  TlsKeeper(TlsFiles files, std::string protocol, std::shared_ptr<const TlsContext> context);
  // Waits a second at most for a look under way; one that hangs is left to itself.
  ~TlsKeeper();
  TlsKeeper(const TlsKeeper&) = delete;
  TlsKeeper& operator=(const TlsKeeper&) = delete;

  // The newest that was read.
  std::shared_ptr<const TlsContext> Current() const;
  // Has the files read anew, soon, though they may look as before.
  void Reload();

 private:
  struct Looks;
  const std::shared_ptr<Looks> looks_;
  std::thread thread_;
};

// The server's end of one connection, on a socket that does not block and outlives it. One thread.
class TlsStream {
 public:
  enum class Step : uint8_t {
    kDone,
    kWantRead,   // go on when the socket is readable
    kWantWrite,  // go on when it is writable
    kEnd,        // the peer has ended its direction in order
    kFailed,     // see error(); nothing but destruction is left
  };
  struct Moved {
    Step step = Step::kDone;
    size_t bytes = 0;  // kDone
  };

  TlsStream(std::shared_ptr<const TlsContext> context, int fd);
  ~TlsStream();
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  // First, until it is kDone.
  Step Handshake();
  // Who it is, once shaken hands: the first DNS name of the certificate's subject alternative
  // names, else its first URI, else its common name; 1 to 128 bytes of UTF-8 without control
  // characters.
  const std::string& peer_name() const { return peer_name_; }
  Moved Read(std::span<std::byte> to);
  // After kWantWrite or kWantRead the same bytes, perhaps with more behind, are given again.
  Moved Write(std::span<const std::byte> from);
  // Tells the peer that nothing more comes; it may be lost.
  void Shutdown();
  // Why it failed, for the log.
  const std::string& error() const { return error_; }

 private:
  Step Verdict(int result);
  Step Fail(std::string why);

  struct Inside;
  std::unique_ptr<Inside> inside_;
  std::string peer_name_;
  std::string error_;
};

}  // namespace sluice
