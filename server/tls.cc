// SPDX-License-Identifier: Apache-2.0
#include "server/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/log.h"
#include "core/units.h"
#include "server/text.h"

namespace sluice {
namespace {

constexpr size_t kNameMax = 128;
constexpr size_t kReadAhead = 64 * kKiB;       // taken from the socket at a time
constexpr std::chrono::seconds kLookEvery{1};  // at the files
constexpr std::chrono::seconds kLastLook{1};   // may take at the end
constexpr uint32_t kMessagesMax = 16;  // of TLS itself, that stand between two pieces of data
// Forward secrecy and authenticated encryption only (TLS 1.2; 1.3 has nothing else).
constexpr char kCiphers[] = "ECDHE+AESGCM:ECDHE+CHACHA20";

template <auto kFree>
struct Freer {
  template <typename T>
  void operator()(T* what) const {
    kFree(what);
  }
};
using CtxPtr = std::unique_ptr<SSL_CTX, Freer<SSL_CTX_free>>;
using SslPtr = std::unique_ptr<SSL, Freer<SSL_free>>;
using CertPtr = std::unique_ptr<X509, Freer<X509_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using BioPtr = std::unique_ptr<BIO, Freer<BIO_vfree>>;
using NamesPtr = std::unique_ptr<GENERAL_NAMES, Freer<GENERAL_NAMES_free>>;

// The newest of OpenSSL's errors in words; empties its queue.
std::string Errors() {
  std::array<char, 256> text{};
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  if (code == 0) return "";
  ERR_error_string_n(code, text.data(), text.size());
  return text.data();
}

absl::Status Wrong(const std::string& file, absl::string_view what, absl::string_view cure) {
  const std::string errors = Errors();
  return absl::FailedPreconditionError(absl::StrCat(file, ": ", what, errors.empty() ? "" : " (",
                                                    errors, errors.empty() ? "" : ")", "; ", cure));
}

absl::Status CheckReadable(const std::string& file, absl::string_view option) {
  FILE* opened = std::fopen(file.c_str(), "re");
  if (opened == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(file, ": ", std::strerror(errno),
                                                      "; make it readable for the server, or ",
                                                      "correct ", option));
  }
  std::fclose(opened);
  return absl::OkStatus();
}

absl::Status CheckTimes(const std::string& file, const X509& cert) {
  if (X509_cmp_current_time(X509_get0_notBefore(&cert)) >= 0) {
    return Wrong(file, "the certificate is not valid yet",
                 "correct the clock, or have it reissued");
  }
  if (X509_cmp_current_time(X509_get0_notAfter(&cert)) <= 0) {
    return Wrong(file, "the certificate has expired", "have it reissued");
  }
  return absl::OkStatus();
}

absl::Status LoadCert(SSL_CTX& ctx, const std::string& file) {
  if (auto status = CheckReadable(file, "tls.cert (--tls-cert)"); !status.ok()) return status;
  if (SSL_CTX_use_certificate_chain_file(&ctx, file.c_str()) != 1) {
    return Wrong(file, "holds no certificate", "give the server's certificate in PEM");
  }
  return CheckTimes(file, *SSL_CTX_get0_certificate(&ctx));
}

absl::Status LoadKey(SSL_CTX& ctx, const TlsFiles& files, std::vector<std::string>& warnings) {
  if (auto status = CheckReadable(files.key, "tls.key (--tls-key)"); !status.ok()) return status;
  struct stat info {};
  if (stat(files.key.c_str(), &info) == 0 && (info.st_mode & 0004) != 0) {
    warnings.push_back(absl::StrCat(
        files.key, ": everybody on this machine can read the private key; chmod o-r it"));
  }
  const BioPtr bio(BIO_new_file(files.key.c_str(), "r"));
  // An encrypted key must not ask the terminal for its passphrase.
  const auto no_passphrase = [](char*, int, int, void*) { return -1; };
  const KeyPtr key(bio == nullptr
                       ? nullptr
                       : PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  if (key == nullptr) {
    return Wrong(files.key, "holds no private key", "give the server's key in PEM, not encrypted");
  }
  if (X509_check_private_key(SSL_CTX_get0_certificate(&ctx), key.get()) != 1) {
    return Wrong(files.key, absl::StrCat("is not the key of ", files.cert),
                 "give the key that the certificate was made for");
  }
  if (SSL_CTX_use_PrivateKey(&ctx, key.get()) != 1) {
    return Wrong(files.key, "cannot be used", "give an RSA or EC key of usual strength");
  }
  return absl::OkStatus();
}

absl::Status LoadAuthority(SSL_CTX& ctx, const std::string& file) {
  if (auto status = CheckReadable(file, "tls.client_ca (--tls-client-ca)"); !status.ok()) {
    return status;
  }
  STACK_OF(X509_NAME)* names = SSL_load_client_CA_file(file.c_str());
  if (names == nullptr || SSL_CTX_load_verify_file(&ctx, file.c_str()) != 1) {
    sk_X509_NAME_pop_free(names, X509_NAME_free);
    return Wrong(file, "holds no certificate",
                 "give, in PEM, the authority that signs the clients' certificates");
  }
  SSL_CTX_set_client_CA_list(&ctx, names);
  return absl::OkStatus();
}

bool IsPeerName(const std::string& name) {
  return !name.empty() && name.size() <= kNameMax && IsPlainText(name);
}

std::string TextOf(const ASN1_STRING& text) {
  unsigned char* utf8 = nullptr;
  const int length = ASN1_STRING_to_UTF8(&utf8, &text);
  if (length < 0) return "";
  std::string name(reinterpret_cast<const char*>(utf8), static_cast<size_t>(length));
  OPENSSL_free(utf8);
  return name;
}

std::string AlternativeName(const X509& cert, int type) {
  const NamesPtr names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(&cert, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    // Both are IA5 strings: GENERAL_NAME's union holds them in one place.
    if (name->type == type) return TextOf(*name->d.ia5);
  }
  return "";
}

std::string NameOf(const X509& cert) {
  std::string name = AlternativeName(cert, GEN_DNS);
  if (name.empty()) name = AlternativeName(cert, GEN_URI);
  if (!name.empty()) return name;
  const X509_NAME* subject = X509_get_subject_name(&cert);
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at < 0) return "";
  return TextOf(*X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
}

}  // namespace

struct TlsContext::Inside {
  CtxPtr ctx;
  std::string protocol;
};

TlsContext::TlsContext(std::unique_ptr<Inside> inside) : inside_(std::move(inside)) {}
TlsContext::~TlsContext() = default;

absl::StatusOr<std::shared_ptr<const TlsContext>> TlsContext::Load(
    const TlsFiles& files, const std::string& protocol, std::vector<std::string>& warnings) {
  ERR_clear_error();
  auto inside = std::make_unique<Inside>();
  inside->protocol = protocol;
  inside->ctx.reset(SSL_CTX_new(TLS_server_method()));
  SSL_CTX& ctx = *inside->ctx;
  SSL_CTX_set_min_proto_version(&ctx, TLS1_2_VERSION);
  SSL_CTX_set_cipher_list(&ctx, kCiphers);
  SSL_CTX_set_options(&ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_session_cache_mode(&ctx, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(&ctx, 0);
  SSL_CTX_set_mode(&ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                             SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(&ctx, 1);
  SSL_CTX_set_default_read_buffer_len(&ctx, kReadAhead);
  SSL_CTX_set_verify(&ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_verify_depth(&ctx, 8);
  SSL_CTX_set_purpose(&ctx, X509_PURPOSE_SSL_CLIENT);
  SSL_CTX_set_alpn_select_cb(
      &ctx,
      [](SSL*, const unsigned char** out, unsigned char* out_length, const unsigned char* in,
         unsigned in_length, void* wanted) {
        const auto& name = *static_cast<const std::string*>(wanted);
        for (unsigned at = 0; at < in_length; at += 1u + in[at]) {
          if (in[at] != name.size() || at + 1u + in[at] > in_length) continue;
          if (std::memcmp(in + at + 1, name.data(), name.size()) != 0) continue;
          *out = in + at + 1;
          *out_length = in[at];
          return SSL_TLSEXT_ERR_OK;
        }
        return SSL_TLSEXT_ERR_ALERT_FATAL;
      },
      &inside->protocol);
  if (auto status = LoadCert(ctx, files.cert); !status.ok()) return status;
  if (auto status = LoadKey(ctx, files, warnings); !status.ok()) return status;
  if (auto status = LoadAuthority(ctx, files.client_ca); !status.ok()) return status;
  return std::shared_ptr<const TlsContext>(new TlsContext(std::move(inside)));
}

// What the keeper and its thread share; the last of them lets go of it.
struct TlsKeeper::Looks {
  Looks(TlsFiles its_files, std::string its_protocol, std::shared_ptr<const TlsContext> first)
      : files(std::move(its_files)),
        protocol(std::move(its_protocol)),
        stamp(Stamp()),
        context(std::move(first)) {}

  void Loop();
  std::string Stamp() const;
  // Null: the old one stays in use.
  std::shared_ptr<const TlsContext> Look(bool anew);

  const TlsFiles files;
  const std::string protocol;
  std::string stamp;  // of what was loaded, or refused, last; the thread's

  std::mutex mutex;  // guards all below
  std::condition_variable changed;
  std::shared_ptr<const TlsContext> context;
  bool read_anew = false;
  bool looking = false;
  bool stop = false;
};

// Equal as long as no file was written or replaced.
std::string TlsKeeper::Looks::Stamp() const {
  std::string now;
  for (const std::string* file : {&files.cert, &files.key, &files.client_ca}) {
    struct stat info {};
    if (stat(file->c_str(), &info) != 0) {
      absl::StrAppend(&now, "missing;");
      continue;
    }
    absl::StrAppend(&now, info.st_dev, ",", info.st_ino, ",", info.st_size, ",",
                    info.st_mtim.tv_sec, ",", info.st_mtim.tv_nsec, ";");
  }
  return now;
}

std::shared_ptr<const TlsContext> TlsKeeper::Looks::Look(bool anew) {
  std::string now = Stamp();
  if (!anew && now == stamp) return nullptr;
  stamp = std::move(now);
  std::vector<std::string> warnings;
  auto fresh = TlsContext::Load(files, protocol, warnings);
  for (const std::string& warning : warnings) Log(LogLevel::kWarning, warning);
  if (!fresh.ok()) {
    Log(LogLevel::kError,
        absl::StrCat("tls: the old certificates stay in use: ", fresh.status().message()));
    return nullptr;
  }
  return *std::move(fresh);
}

void TlsKeeper::Looks::Loop() {
  std::unique_lock lock(mutex);
  for (;;) {
    changed.wait_for(lock, kLookEvery, [this] { return read_anew || stop; });
    if (stop) return;
    looking = true;
    const bool anew = std::exchange(read_anew, false);
    lock.unlock();
    std::shared_ptr<const TlsContext> fresh = Look(anew);
    lock.lock();
    if (fresh != nullptr) {
      context = std::move(fresh);
      Log(LogLevel::kInfo,
          absl::StrCat("tls: ", files.cert, ", its key and ", files.client_ca, " were read anew"));
    }
    looking = false;
    changed.notify_all();
  }
}

TlsKeeper::TlsKeeper(TlsFiles files, std::string protocol,
                     std::shared_ptr<const TlsContext> context)
    : looks_(std::make_shared<Looks>(std::move(files), std::move(protocol), std::move(context))) {
  thread_ = std::thread([looks = looks_] {
    pthread_setname_np(pthread_self(), "tls-files");
    looks->Loop();
  });
}

TlsKeeper::~TlsKeeper() {
  std::unique_lock lock(looks_->mutex);
  looks_->stop = true;
  looks_->changed.notify_all();
  const bool over = looks_->changed.wait_for(lock, kLastLook, [this] { return !looks_->looking; });
  lock.unlock();
  if (over) {
    thread_.join();
  } else {
    thread_.detach();
  }
}

std::shared_ptr<const TlsContext> TlsKeeper::Current() const {
  const std::lock_guard lock(looks_->mutex);
  return looks_->context;
}

void TlsKeeper::Reload() {
  const std::lock_guard lock(looks_->mutex);
  looks_->read_anew = true;
  looks_->changed.notify_all();
}

struct TlsStream::Inside {
  std::shared_ptr<const TlsContext> context;
  SslPtr ssl;
  uint32_t messages_left = kMessagesMax;

  // After the handshake. OpenSSL takes in what TLS says to itself (new keys, above all) without
  // end, in one call, and each costs it tens of microseconds: who says nothing else is cut.
  static void OnMessage(int is_write, int, int type, const void*, size_t, SSL* ssl, void* context) {
    auto& left = static_cast<Inside*>(context)->messages_left;
    if (is_write != 0 || type != SSL3_RT_HANDSHAKE || left == 0 || --left > 0) return;
    SSL_set_shutdown(ssl, SSL_get_shutdown(ssl) | SSL_RECEIVED_SHUTDOWN);
  }
};

TlsStream::TlsStream(std::shared_ptr<const TlsContext> context, int fd)
    : inside_(std::make_unique<Inside>()) {
  inside_->ssl.reset(SSL_new(context->inside_->ctx.get()));
  inside_->context = std::move(context);
  SSL_set_accept_state(inside_->ssl.get());
  SSL_set_fd(inside_->ssl.get(), fd);
}

TlsStream::~TlsStream() = default;

TlsStream::Step TlsStream::Fail(std::string why) {
  ERR_clear_error();
  error_ = std::move(why);
  return Step::kFailed;
}

// What a call that did not succeed means.
TlsStream::Step TlsStream::Verdict(int result) {
  const int saved = errno;
  switch (SSL_get_error(inside_->ssl.get(), result)) {
    case SSL_ERROR_WANT_READ:
      return Step::kWantRead;
    case SSL_ERROR_WANT_WRITE:
      return Step::kWantWrite;
    case SSL_ERROR_ZERO_RETURN:
      return Step::kEnd;
    case SSL_ERROR_SYSCALL:
      return Fail(saved != 0 ? std::strerror(saved) : "the peer is gone");
    default:
      break;
  }
  const long verified = SSL_get_verify_result(inside_->ssl.get());
  std::string why = Errors();
  if (verified != X509_V_OK) {
    absl::StrAppend(&why, ": ", X509_verify_cert_error_string(verified));
  }
  return Fail(std::move(why));
}

TlsStream::Step TlsStream::Handshake() {
  ERR_clear_error();
  SSL* ssl = inside_->ssl.get();
  errno = 0;
  const int result = SSL_do_handshake(ssl);
  if (result != 1) return Verdict(result);
  const unsigned char* chosen = nullptr;
  unsigned length = 0;
  SSL_get0_alpn_selected(ssl, &chosen, &length);
  if (length == 0) return Fail("the client names no application protocol (ALPN h2)");
  const CertPtr cert(SSL_get1_peer_certificate(ssl));
  if (cert == nullptr || SSL_get_verify_result(ssl) != X509_V_OK) return Fail("no certificate");
  peer_name_ = NameOf(*cert);
  if (!IsPeerName(peer_name_)) {
    return Fail(
        "the certificate has no usable name: a DNS name, a URI or a common name of 1 to "
        "128 bytes");
  }
  SSL_set_msg_callback(ssl, Inside::OnMessage);
  SSL_set_msg_callback_arg(ssl, inside_.get());
  return Step::kDone;
}

TlsStream::Moved TlsStream::Read(std::span<std::byte> to) {
  ERR_clear_error();
  Moved moved;
  errno = 0;
  const int result = SSL_read_ex(inside_->ssl.get(), to.data(), to.size(), &moved.bytes);
  if (result == 1) {
    inside_->messages_left = kMessagesMax;
  } else if (inside_->messages_left == 0) {
    moved.step = Fail("floods with messages of TLS");
  } else {
    moved.step = Verdict(result);
  }
  return moved;
}

TlsStream::Moved TlsStream::Write(std::span<const std::byte> from) {
  ERR_clear_error();
  Moved moved;
  errno = 0;
  const int result = SSL_write_ex(inside_->ssl.get(), from.data(), from.size(), &moved.bytes);
  if (result != 1) moved.step = Verdict(result);
  return moved;
}

void TlsStream::Shutdown() {
  ERR_clear_error();
  SSL_shutdown(inside_->ssl.get());
  ERR_clear_error();
}

}  // namespace sluice
