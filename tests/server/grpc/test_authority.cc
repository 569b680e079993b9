// SPDX-License-Identifier: Apache-2.0
#include "tests/server/grpc/test_authority.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "core/check.h"

namespace sluice {
namespace {

void SetName(X509_NAME* name, const std::string& text) {
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(text.data()),
                             static_cast<int>(text.size()), -1, 0);
}

template <typename Write>
void WriteFile(const std::string& path, Write write) {
  FILE* file = std::fopen(path.c_str(), "we");
  SLUICE_CHECK(file != nullptr);
  write(file);
  std::fclose(file);
  SLUICE_CHECK(chmod(path.c_str(), 0600) == 0);
}

}  // namespace

TestAuthority::TestAuthority() : key_(EVP_EC_gen("P-256")) {
  char folder[] = "/tmp/sluice-authority-XXXXXX";
  SLUICE_CHECK(mkdtemp(folder) != nullptr);
  folder_ = folder;
  Issue("ca");
  Issue("server");
}

TestAuthority::~TestAuthority() {
  std::filesystem::remove_all(folder_);
  EVP_PKEY_free(key_);
}

void TestAuthority::Issue(const std::string& name) {
  EVP_PKEY* key = name == "ca" ? key_ : EVP_EC_gen("P-256");
  X509* made = X509_new();
  X509_set_version(made, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(made), ++serial_);
  X509_gmtime_adj(X509_getm_notBefore(made), -3600);
  X509_gmtime_adj(X509_getm_notAfter(made), 3600);
  SetName(X509_get_subject_name(made), name);
  SetName(X509_get_issuer_name(made), "ca");
  X509_set_pubkey(made, key);
  if (name == "ca") {
    X509_EXTENSION* ca = X509V3_EXT_conf_nid(nullptr, nullptr, NID_basic_constraints, "CA:TRUE");
    X509_add_ext(made, ca, -1);
    X509_EXTENSION_free(ca);
  }
  SLUICE_CHECK(X509_sign(made, key_, EVP_sha256()) > 0);
  WriteFile(cert(name), [made](FILE* file) { PEM_write_X509(file, made); });
  WriteFile(this->key(name), [key](FILE* file) {
    PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
  });
  X509_free(made);
  if (key != key_) EVP_PKEY_free(key);
}

TlsClient::TlsClient(int fd, const TestAuthority& authority, const std::string& name)
    : fd_(fd), ctx_(SSL_CTX_new(TLS_client_method())) {
  SSL_CTX_load_verify_file(ctx_, authority.cert("ca").c_str());
  SSL_CTX_set_verify(ctx_, SSL_VERIFY_PEER, nullptr);
  const unsigned char h2[] = {2, 'h', '2'};
  SSL_CTX_set_alpn_protos(ctx_, h2, sizeof(h2));
  if (!name.empty()) {
    SSL_CTX_use_certificate_chain_file(ctx_, authority.cert(name).c_str());
    SSL_CTX_use_PrivateKey_file(ctx_, authority.key(name).c_str(), SSL_FILETYPE_PEM);
  }
  ssl_ = SSL_new(ctx_);
  SSL_set_fd(ssl_, fd_);
  shaken_ = SSL_connect(ssl_) == 1;
}

TlsClient::~TlsClient() {
  SSL_shutdown(ssl_);
  SSL_free(ssl_);
  SSL_CTX_free(ctx_);
  close(fd_);
}

bool TlsClient::Send(const std::string& bytes) {
  size_t sent = 0;
  return SSL_write_ex(ssl_, bytes.data(), bytes.size(), &sent) == 1 && sent == bytes.size();
}

void TlsClient::UpdateKeys(int times) {
  for (int i = 0; i < times; ++i) {
    SSL_key_update(ssl_, SSL_KEY_UPDATE_NOT_REQUESTED);
    if (SSL_do_handshake(ssl_) != 1) return;
  }
}

std::string TlsClient::Receive(size_t count) {
  std::string bytes(count, '\0');
  size_t have = 0;
  size_t got = 0;
  while (have < count && SSL_read_ex(ssl_, bytes.data() + have, count - have, &got) == 1) {
    have += got;
  }
  bytes.resize(have);
  return bytes;
}

}  // namespace sluice
