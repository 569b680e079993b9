// SPDX-License-Identifier: Apache-2.0
// `sluice server ...` and `sluice drain`.
#include "absl/strings/str_cat.h"
#include "client/command/text.h"
#include "client/control/commands.h"
#include "client/control/json.h"
#include "client/control/table.h"
#include "client/control/words.h"
#include "sluice/v1/server.grpc.pb.h"

namespace sluice::control {
namespace {

using command::SizeText;
using Stub = v1::ServerService::Stub;

std::unique_ptr<Stub> StubOf(const Link& link) {
  return v1::ServerService::NewStub(link.channel());
}

}  // namespace

int ShowServer(const Link& link, bool json) {
  const auto answer = Ask(link, *StubOf(link), &Stub::GetServerInfo, v1::GetServerInfoRequest());
  if (!answer.ok()) return Fail(answer.status());
  if (json) return Print(JsonOf(*answer) + "\n"), 0;
  const v1::ServerLimits& limits = answer->limits();
  Facts facts;
  facts.Add("server", link.address());
  facts.Add("version", answer->version());
  facts.Add("instance", answer->instance());
  facts.Add("up for", AgeText(answer->began_unix_ns(), UnixNow()));
  facts.Add("state",
            answer->draining() ? Cell("draining", Tone::kWarn) : Cell("serving", Tone::kGood));
  facts.Add("reactors", absl::StrCat(answer->reactors()));
  facts.Add("connections", absl::StrCat("at most ", limits.nbd_connections(), " NBD, ",
                                        limits.grpc_connections(), " gRPC"));
  facts.Add("message", absl::StrCat("at most ", SizeText(limits.max_message_bytes())));
  facts.Add("payload pool", absl::StrCat(SizeText(limits.pool_bytes()), " for each reactor"));
  facts.Add("features", JoinText(answer->features()));
  Print(facts.Text(WantsColour()));
  return 0;
}

int SetLogLevel(const Link& link, v1::Severity least) {
  v1::SetLogLevelRequest request;
  request.set_least(least);
  const auto answer = Ask(link, *StubOf(link), &Stub::SetLogLevel, request);
  if (!answer.ok()) return Fail(answer.status());
  Print(absl::StrCat("logs from ", EnumText(*v1::Severity_descriptor(), least), " on now, before ",
                     EnumText(*v1::Severity_descriptor(), answer->before()),
                     "; until the server ends\n"));
  return 0;
}

int DrainServer(const Link& link, uint32_t timeout_ms) {
  v1::DrainRequest request;
  request.set_timeout_ms(timeout_ms);
  const auto answer = Ask(link, *StubOf(link), &Stub::Drain, request);
  if (!answer.ok()) return Fail(answer.status());
  Print(
      "the server takes nothing new, finishes what is in flight and ends; its service manager may "
      "start it again\n");
  return 0;
}

}  // namespace sluice::control
