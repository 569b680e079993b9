// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 as text: a request's head in, a whole response out. cpp-httplib reads the request line
// and writes the response; it is given neither sockets nor header fields, none of which changes an
// answer here, so that what it does with ranges, encodings and bodies is out of reach.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/functional/any_invocable.h"

namespace sluice::http {

struct Page {
  int status = 200;
  std::string body;
  std::string type = "text/plain; charset=utf-8";
};

// What there is to GET or HEAD, by path. Called on the thread that answers.
using Pages = std::map<std::string, absl::AnyInvocable<Page()>, std::less<>>;

// Longest head that is taken, bytes.
inline constexpr size_t kHeadMax = 8192;

class Answerer {
 public:
  explicit Answerer(Pages pages);
  ~Answerer();
  Answerer(const Answerer&) = delete;
  Answerer& operator=(const Answerer&) = delete;

  // The response to a request that begins with `head`, hostile as it may be; the connection is to
  // be closed behind it. One thread at a time.
  std::string Answer(std::string_view head);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::http
