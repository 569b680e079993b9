// SPDX-License-Identifier: Apache-2.0
// What every gRPC server tells: health (grpc.health.v1) and reflection (grpc.reflection.v1alpha).
// Our own and on our queues: gRPC's are served by threads that then poll the data door's
// connections too, and each message of theirs changes threads once more (depth 1: 127 us with them,
// 80 without).
#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "server/grpc/call.h"
#include "server/grpc/unary.h"

namespace sluice::rpc {
namespace {

namespace health = ::grpc::health::v1;
namespace reflection = ::grpc::reflection::v1alpha;
namespace pb = google::protobuf;

constexpr size_t kTextMax = 1024;  // of a reflection request, bytes

// --- health ---

using Health = health::Health::AsyncService;
using CheckCall = Unary<Health, health::HealthCheckRequest, health::HealthCheckResponse>;

bool IsKnown(const Host& host, const std::string& service) {
  return service.empty() ||
         std::find(host.services.begin(), host.services.end(), service) != host.services.end();
}

health::HealthCheckResponse::ServingStatus StatusNow(const Host& host) {
  return host.draining.load() ? health::HealthCheckResponse::NOT_SERVING
                              : health::HealthCheckResponse::SERVING;
}

void HandleCheck(std::shared_ptr<CheckCall> call) {
  if (!IsKnown(call->host(), call->request.service())) {
    return call->Fail({::grpc::StatusCode::NOT_FOUND, "there is no such service"});
  }
  call->response.set_status(StatusNow(call->host()));
  call->Answer();
}

// Told the status now and when the door begins to drain; then it ends.
class WatchCall final : public Call,
                        public DrainListener,
                        public std::enable_shared_from_this<WatchCall> {
 public:
  WatchCall(Host& host, Quota& quota, ::grpc::ServerCompletionQueue& cq)
      : Call(host, quota),
        cq_(cq),
        writer_(&context_),
        asked_(*this, &WatchCall::Asked),
        write_(*this, &WatchCall::Told),
        gone_(*this, &WatchCall::Gone),
        finish_(*this, &WatchCall::Ended) {}

  void Start() {
    context_.AsyncNotifyWhenDone(gone_.Give());
    host_.health.RequestWatch(&context_, &request_, &writer_, &cq_, &cq_, asked_.Give());
  }

 private:
  void Asked(bool ok) {
    if (!ok) return gone_.Drop();  // of a call that never was nobody tells the end
    std::make_shared<WatchCall>(host_, quota_, cq_)->Start();
    if (const ::grpc::Status refused = Enter(context_); !refused.ok()) {
      const std::lock_guard<std::mutex> lock(mutex_);
      return Finish(refused);
    }
    host_.at_drain.Add(shared_from_this());
    Tell();
  }
  void OnDrain() override { Tell(); }

  // Any thread.
  void Tell() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (writing_ || finishing_) return;
    const auto status = IsKnown(host_, request_.service())
                            ? StatusNow(host_)
                            : health::HealthCheckResponse::SERVICE_UNKNOWN;
    if (told_ && response_.status() == status) {
      if (host_.draining.load()) Finish();
      return;
    }
    told_ = writing_ = true;
    response_.set_status(status);
    writer_.Write(response_, write_.Lend());
  }
  void Told(bool) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      writing_ = false;
      if (cancelled_) return Finish();
    }
    Tell();
  }
  void Gone(bool) {
    const std::lock_guard<std::mutex> lock(mutex_);
    cancelled_ = true;
    if (!writing_) Finish();
  }
  // REQUIRES: mutex_ is held.
  void Finish(const ::grpc::Status& status = ::grpc::Status::OK) {
    if (std::exchange(finishing_, true)) return;
    writer_.Finish(status, finish_.Lend());
  }
  void Ended(bool) {}

  ::grpc::ServerCompletionQueue& cq_;
  ::grpc::ServerContext context_;
  ::grpc::ServerAsyncWriter<health::HealthCheckResponse> writer_;
  health::HealthCheckRequest request_;
  Step<WatchCall> asked_, write_, gone_, finish_;

  std::mutex mutex_;  // guards all below
  health::HealthCheckResponse response_;
  bool told_ = false;
  bool writing_ = false;
  bool cancelled_ = false;
  bool finishing_ = false;
};

// --- reflection ---

// `file` and all that it imports, once each.
void AddFiles(const pb::FileDescriptor& file, std::set<const pb::FileDescriptor*>& seen,
              reflection::FileDescriptorResponse& response) {
  if (!seen.insert(&file).second) return;
  pb::FileDescriptorProto proto;
  file.CopyTo(&proto);
  response.add_file_descriptor_proto(proto.SerializeAsString());
  for (int i = 0; i < file.dependency_count(); ++i) AddFiles(*file.dependency(i), seen, response);
}

void Reflect(const Host& host, const reflection::ServerReflectionRequest& request,
             reflection::ServerReflectionResponse& response) {
  response.Clear();
  response.set_valid_host(request.host());
  *response.mutable_original_request() = request;
  const pb::DescriptorPool& pool = *pb::DescriptorPool::generated_pool();
  const pb::FileDescriptor* file = nullptr;
  switch (request.message_request_case()) {
    case reflection::ServerReflectionRequest::kListServices:
      for (const std::string& service : host.services) {
        response.mutable_list_services_response()->add_service()->set_name(service);
      }
      return;
    case reflection::ServerReflectionRequest::kFileByFilename:
      file = pool.FindFileByName(request.file_by_filename());
      break;
    case reflection::ServerReflectionRequest::kFileContainingSymbol:
      file = pool.FindFileContainingSymbol(request.file_containing_symbol());
      break;
    default:
      break;  // the schema has no extensions
  }
  if (file == nullptr) {
    response.mutable_error_response()->set_error_code(::grpc::StatusCode::NOT_FOUND);
    response.mutable_error_response()->set_error_message("there is no such thing");
    return;
  }
  std::set<const pb::FileDescriptor*> seen;
  AddFiles(*file, seen, *response.mutable_file_descriptor_response());
}

class ReflectionCall final : public Call, public std::enable_shared_from_this<ReflectionCall> {
 public:
  ReflectionCall(Host& host, Quota& quota, ::grpc::ServerCompletionQueue& cq)
      : Call(host, quota),
        cq_(cq),
        stream_(&context_),
        asked_(*this, &ReflectionCall::Asked),
        read_(*this, &ReflectionCall::Arrived),
        write_(*this, &ReflectionCall::Told),
        finish_(*this, &ReflectionCall::Ended) {}

  void Start() {
    host_.reflection.RequestServerReflectionInfo(&context_, &stream_, &cq_, &cq_, asked_.Give());
  }

 private:
  void Asked(bool ok) {
    if (!ok) return;  // the door closes
    std::make_shared<ReflectionCall>(host_, quota_, cq_)->Start();
    if (const ::grpc::Status refused = Enter(context_); !refused.ok()) return Finish(refused);
    stream_.Read(&request_, read_.Give());
  }
  void Arrived(bool ok) {
    if (!ok) return Finish(::grpc::Status::OK);
    if (request_.ByteSizeLong() > kTextMax) {
      return Finish({::grpc::StatusCode::INVALID_ARGUMENT, "the request is too long"});
    }
    Reflect(host_, request_, response_);
    stream_.Write(response_, write_.Lend());
  }
  void Told(bool ok) {
    if (!ok) return Finish(::grpc::Status::OK);
    stream_.Read(&request_, read_.Give());
  }
  void Finish(const ::grpc::Status& status) { stream_.Finish(status, finish_.Lend()); }
  void Ended(bool) {}

  ::grpc::ServerCompletionQueue& cq_;
  ::grpc::ServerContext context_;
  ::grpc::ServerAsyncReaderWriter<reflection::ServerReflectionResponse,
                                  reflection::ServerReflectionRequest>
      stream_;
  reflection::ServerReflectionRequest request_;
  reflection::ServerReflectionResponse response_;
  Step<ReflectionCall> asked_, read_, write_, finish_;
};

}  // namespace

void AwaitObservers(Host& host, ::grpc::ServerCompletionQueue& cq) {
  AwaitCall<CheckCall>(host, cq, host.health, &Health::RequestCheck, HandleCheck);
  std::make_shared<WatchCall>(host, host.others.emplace_back(kLongCalls), cq)->Start();
  std::make_shared<ReflectionCall>(host, host.others.emplace_back(kLongCalls), cq)->Start();
}

}  // namespace sluice::rpc
