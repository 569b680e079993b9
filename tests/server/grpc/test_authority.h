// SPDX-License-Identifier: Apache-2.0
// A certificate authority made on the spot, in a folder of its own, and a client that shows what it
// issued. One thread each.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "server/tls.h"

namespace sluice {

class TestAuthority {
 public:
  TestAuthority();
  ~TestAuthority();
  TestAuthority(const TestAuthority&) = delete;
  TestAuthority& operator=(const TestAuthority&) = delete;

  // Writes a certificate of that common name: NAME.pem and NAME.key.
  void Issue(const std::string& name);
  std::string cert(const std::string& name) const { return folder_ + "/" + name + ".pem"; }
  std::string key(const std::string& name) const { return folder_ + "/" + name + ".key"; }
  // Of a server whose certificate is "server", for clients of this authority.
  TlsFiles files() const { return {cert("server"), key("server"), cert("ca")}; }

 private:
  std::string folder_;
  EVP_PKEY* key_;
  long serial_ = 0;
};

class TlsClient {
 public:
  // Shakes hands on `fd`, which is closed with it; blocks. `name` as issued, or empty: it shows no
  // certificate.
  TlsClient(int fd, const TestAuthority& authority, const std::string& name);
  ~TlsClient();
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;

  bool shaken() const { return shaken_; }
  bool Send(const std::string& bytes);
  // Tells the server so often that new keys are used from now on (RFC 8446, 4.6.3).
  void UpdateKeys(int times);
  // So many bytes, or what came before the end.
  std::string Receive(size_t count);

 private:
  int fd_;
  SSL_CTX* ctx_;
  SSL* ssl_;
  bool shaken_ = false;
};

}  // namespace sluice
