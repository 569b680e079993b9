// SPDX-License-Identifier: Apache-2.0
#include "server/http/answer.h"

#include <httplib.h>

#include <algorithm>
#include <utility>

namespace sluice::http {
namespace {

class MemoryStream final : public httplib::Stream {
 public:
  explicit MemoryStream(std::string in) : in_(std::move(in)) {}

  bool is_readable() const override { return at_ < in_.size(); }
  bool is_writable() const override { return true; }
  ssize_t read(char* to, size_t size) override {
    const size_t part = std::min(size, in_.size() - at_);
    in_.copy(to, part, at_);
    at_ += part;
    return static_cast<ssize_t>(part);
  }
  ssize_t write(const char* from, size_t size) override {
    out_.append(from, size);
    return static_cast<ssize_t>(size);
  }
  void get_remote_ip_and_port(std::string&, int&) const override {}
  void get_local_ip_and_port(std::string&, int&) const override {}
  socket_t socket() const override { return INVALID_SOCKET; }

  std::string TakeOutput() { return std::move(out_); }

 private:
  const std::string in_;
  size_t at_ = 0;
  std::string out_;
};

}  // namespace

class Answerer::Impl final : private httplib::Server {
 public:
  explicit Impl(Pages pages) : pages_(std::move(pages)) {
    set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
      Route(request, response);
      return HandlerResponse::Handled;
    });
  }

  std::string Answer(std::string_view head) {
    const size_t line = std::min(head.find("\r\n"), head.size());
    MemoryStream stream(std::string(head.substr(0, line)) + "\r\n\r\n");
    bool closed = false;
    process_request(stream, true, closed, nullptr);
    return stream.TakeOutput();
  }

 private:
  void Route(const httplib::Request& request, httplib::Response& response) {
    const auto page = pages_.find(request.path);
    if (page == pages_.end()) {
      response.status = 404;
      return response.set_content("there are:" + Names() + "\n", "text/plain; charset=utf-8");
    }
    if (request.method != "GET" && request.method != "HEAD") {
      response.status = 405;
      response.set_header("Allow", "GET, HEAD");
      return response.set_content("GET or HEAD it\n", "text/plain; charset=utf-8");
    }
    Page made = page->second();
    response.status = made.status;
    response.body = std::move(made.body);
    response.set_header("Content-Type", made.type);
    response.set_header("Cache-Control", "no-store");
  }

  std::string Names() const {
    std::string names;
    for (const auto& [path, page] : pages_) names += " " + path;
    return names;
  }

  Pages pages_;
};

Answerer::Answerer(Pages pages) : impl_(std::make_unique<Impl>(std::move(pages))) {}
Answerer::~Answerer() = default;

std::string Answerer::Answer(std::string_view head) { return impl_->Answer(head); }

}  // namespace sluice::http
