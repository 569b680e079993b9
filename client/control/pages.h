// SPDX-License-Identifier: Apache-2.0
// Lists that come page by page, taken as one.
#pragma once

#include <google/protobuf/repeated_ptr_field.h>

#include <utility>

#include "client/control/link.h"

namespace sluice::control {

// `items` is &Response::mutable_things.
template <typename T, typename Stub, typename Request, typename Response>
Result<google::protobuf::RepeatedPtrField<T>> AskAll(
    const Link& link, Stub& stub,
    grpc::Status (Stub::*call)(grpc::ClientContext*, const Request&, Response*),
    google::protobuf::RepeatedPtrField<T>* (Response::*items)(), Request request = {},
    std::chrono::milliseconds patience = Link::kPatience) {
  constexpr uint32_t kPage = 1000;
  google::protobuf::RepeatedPtrField<T> all;
  request.set_page_size(kPage);
  while (true) {
    auto page = Ask(link, stub, call, request, patience);
    if (!page.ok()) return page.status();
    all.MergeFrom(*((*page).*items)());
    if (page->next_page_token().empty()) return all;
    if (page->next_page_token() == request.page_token()) {
      return Status(StatusCode::kProtocolError, "the server's list does not end");
    }
    request.set_page_token(page->next_page_token());
  }
}

}  // namespace sluice::control
