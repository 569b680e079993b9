// SPDX-License-Identifier: Apache-2.0
// grpc_load ADDRESS: batches of ops on one Io stream and nothing else, the yardstick of the gRPC
// door. One thread on a completion queue; each op has data and a checksum of its own. Prints one
// line of JSON.
#include <grpcpp/create_channel.h>
#include <malloc.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "core/check.h"
#include "core/clock.h"
#include "core/units.h"
#include "server/crc32c.h"
#include "sluice/v1/block.grpc.pb.h"

namespace sluice::bench {
namespace {

struct Words {
  std::string address, exported;
  bool write = false, checksum = true, omit_zeroes = false;
  uint32_t block_size = 4096, batch = 64, depth = 256;
  double seconds = 2, warmup = 0.5;
};

// The memory of messages is used again, as at the door (server/grpc/door.cc): a load that faults it
// in anew for each is measured in its place.
void KeepMemory() {
  mallopt(M_MMAP_THRESHOLD, 16 * int{kMiB});
  mallopt(M_TRIM_THRESHOLD, 32 * int{kMiB});
}

uint64_t CpuNs() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  const auto ns = [](const timeval& t) {
    return static_cast<uint64_t>(t.tv_sec) * kSecond + static_cast<uint64_t>(t.tv_usec) * 1000;
  };
  return ns(usage.ru_utime) + ns(usage.ru_stime);
}

class Load {
 public:
  Load(const Words& words, std::unique_ptr<v1::BlockService::Stub> stub)
      : words_(words), stub_(std::move(stub)) {}

  int Run() {
    Open();
    Begin();
    while (!Over()) {
      void* tag = nullptr;
      bool ok = false;
      SLUICE_CHECK(queue_.Next(&tag, &ok));
      if (!ok) return Fail("the stream broke");
      if (tag == &written_) {
        writing_ = false;
      } else if (!Take()) {
        return 1;
      }
      Fill();
    }
    Print();
    context_.TryCancel();
    Close();
    return 0;
  }

 private:
  static int Fail(const char* why) {
    std::fprintf(stderr, "grpc_load: %s\n", why);
    return 1;
  }
  void* Wait() {
    void* tag = nullptr;
    bool ok = false;
    SLUICE_CHECK(queue_.Next(&tag, &ok) && ok);
    return tag;
  }

  void Open() {
    v1::OpenVolumeRequest ask;
    ask.set_export_name(words_.exported);
    ask.set_client_id("grpc_load");
    ask.set_access_mode(words_.write ? v1::ACCESS_MODE_READ_WRITE : v1::ACCESS_MODE_READ_ONLY);
    ask.set_force(true);
    grpc::ClientContext context;
    const grpc::Status status = stub_->OpenVolume(&context, ask, &opened_);
    if (!status.ok()) {
      std::fprintf(stderr, "grpc_load: %s\n", status.error_message().c_str());
      std::exit(1);
    }
    blocks_ = opened_.geometry().size_bytes() / words_.block_size;
  }

  void Close() {
    v1::CloseVolumeRequest ask;
    ask.set_session_id(opened_.session_id());
    ask.set_epoch(opened_.epoch());
    v1::CloseVolumeResponse answer;
    grpc::ClientContext context;
    stub_->CloseVolume(&context, ask, &answer);
  }

  void Begin() {
    stream_ = stub_->AsyncIo(&context_, &queue_, nullptr);
    Wait();
    v1::IoRequest attach;
    attach.mutable_attach()->set_session_id(opened_.session_id());
    attach.mutable_attach()->set_epoch(opened_.epoch());
    attach.mutable_attach()->set_attach_seq(1);
    stream_->Write(attach, nullptr);
    Wait();
    stream_->Read(&response_, nullptr);
    Wait();
    stream_->Read(&response_, &received_);
    if (words_.write) {
      std::string& payload = *request_.mutable_payload();
      for (uint32_t i = 0; i < words_.batch; ++i) {
        payload.append(words_.block_size, static_cast<char>('a' + i % 26));
      }
    }
    for (uint32_t i = 0; i < words_.batch; ++i) {
      v1::Op& op = *request_.add_ops();
      op.set_kind(words_.write ? v1::OP_KIND_WRITE : v1::OP_KIND_READ);
      op.set_length_bytes(words_.block_size);
      if (words_.omit_zeroes) op.set_flags(v1::OP_FLAG_OMIT_ZEROES);
      op.set_payload_offset(words_.write ? i * words_.block_size : 0);
    }
    began_ns_ = clock_.NowNs();
    Fill();
  }

  // Sends the next batch if there is room for it.
  void Fill() {
    if (writing_ || last_id_ - answered_ + words_.batch > words_.depth) return;
    sent_.push_back({clock_.NowNs(), words_.batch});
    for (int i = 0; i < request_.ops_size(); ++i) {
      v1::Op& op = *request_.mutable_ops(i);
      op.set_op_id(++last_id_);
      op.set_offset_bytes(last_id_ % blocks_ * words_.block_size);
      if (words_.write && words_.checksum) {
        op.set_crc32c(Crc32c(request_.payload().data() + op.payload_offset(), words_.block_size));
      }
    }
    // Answers come in any order, but nearly in that of the ops: this is far behind.
    if (answered_ > words_.depth) request_.set_ack_through(answered_ - words_.depth);
    writing_ = true;
    stream_->Write(request_, &written_);
  }

  bool Take() {
    const uint64_t now_ns = clock_.NowNs();
    for (const v1::OpResult& result : response_.results()) {
      if (result.reason() != v1::ERROR_REASON_UNSPECIFIED) {
        std::fprintf(stderr, "grpc_load: op %lu: %s\n", result.op_id(),
                     v1::ErrorReason_Name(result.reason()).c_str());
        return false;
      }
      if (result.has_crc32c() && words_.checksum &&
          Crc32c(response_.payload().data() + result.payload_offset(), result.length_bytes()) !=
              result.crc32c()) {
        Fail("data with a wrong checksum");
        return false;
      }
      ++answered_;
      if (measuring_) latencies_ns_.push_back(now_ns - sent_.front().at_ns);
      if (--sent_.front().left == 0) sent_.pop_front();
    }
    stream_->Read(&response_, &received_);
    return true;
  }

  bool Over() {
    const uint64_t now_ns = clock_.NowNs();
    if (!measuring_) {
      if (now_ns - began_ns_ < static_cast<uint64_t>(words_.warmup * 1e9)) return false;
      measuring_ = true;
      began_ns_ = now_ns;
      cpu_ns_ = CpuNs();
      before_ = answered_;
      return false;
    }
    ended_ns_ = now_ns;
    return now_ns - began_ns_ >= static_cast<uint64_t>(words_.seconds * 1e9);
  }

  void Print() {
    const double seconds = static_cast<double>(ended_ns_ - began_ns_) / 1e9;
    const auto ops = static_cast<double>(answered_ - before_);
    std::sort(latencies_ns_.begin(), latencies_ns_.end());
    const auto at = [&](double share) {
      const auto place = static_cast<size_t>(share * static_cast<double>(latencies_ns_.size()));
      return latencies_ns_.empty() ? 0.0 : static_cast<double>(latencies_ns_[place]) / 1e3;
    };
    std::printf(
        "{\"iops\": %.0f, \"mb_per_s\": %.1f, \"p50_us\": %.1f, \"p99_us\": %.1f, "
        "\"client_cpu_us_per_op\": %.3f, \"requests\": %.0f, \"seconds\": %.3f}\n",
        ops / seconds, ops * words_.block_size / seconds / 1e6, at(0.5), at(0.99),
        static_cast<double>(CpuNs() - cpu_ns_) / 1e3 / ops, ops, seconds);
  }

  struct Sent {
    uint64_t at_ns;
    uint32_t left;
  };

  const Words words_;
  SystemClock clock_;
  std::unique_ptr<v1::BlockService::Stub> stub_;
  v1::OpenVolumeResponse opened_;
  uint64_t blocks_ = 0;
  grpc::CompletionQueue queue_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<v1::IoRequest, v1::IoResponse>> stream_;
  v1::IoRequest request_;
  v1::IoResponse response_;
  char written_ = 0, received_ = 0;  // tags
  bool writing_ = false;
  uint64_t last_id_ = 0, answered_ = 0;
  std::deque<Sent> sent_;
  bool measuring_ = false;
  uint64_t began_ns_ = 0, ended_ns_ = 0, cpu_ns_ = 0, before_ = 0;
  std::vector<uint64_t> latencies_ns_;
};

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) {
  sluice::bench::KeepMemory();
  sluice::bench::Words words;
  CLI::App app("batches of ops on one Io stream of the gRPC door", "grpc_load");
  app.add_option("ADDRESS", words.address, "unix:PATH or HOST:PORT")->required();
  app.add_option("--export", words.exported, "its name; empty: the default one");
  app.add_flag("--write", words.write, "write; else read");
  app.add_flag("--checksum,!--no-checksum", words.checksum, "a crc32c of each op");
  app.add_flag("--omit-zeroes", words.omit_zeroes, "reads of zeroes come without data");
  app.add_option("--block-size", words.block_size, "bytes of an op");
  app.add_option("--batch", words.batch, "ops of a message");
  app.add_option("--depth", words.depth, "ops in flight, at least a batch");
  app.add_option("--time", words.seconds, "seconds to measure");
  app.add_option("--warmup", words.warmup, "seconds of load before that");
  CLI11_PARSE(app, argc, argv);
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  const auto channel =
      grpc::CreateCustomChannel(words.address, grpc::InsecureChannelCredentials(), arguments);
  sluice::bench::Load load(words, sluice::v1::BlockService::NewStub(channel));
  return load.Run();
}
