// SPDX-License-Identifier: Apache-2.0
// `sluice volume ...`
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/command/text.h"
#include "client/control/commands.h"
#include "client/control/json.h"
#include "client/control/pages.h"
#include "client/control/table.h"
#include "client/control/words.h"
#include "sluice/v1/volume.grpc.pb.h"

namespace sluice::control {
namespace {

using command::SizeText;
using Stub = v1::VolumeService::Stub;

std::unique_ptr<Stub> StubOf(const Link& link) {
  return v1::VolumeService::NewStub(link.channel());
}

const char* LayoutOf(const v1::Volume& spec) {
  switch (spec.layout_case()) {
    case v1::Volume::kSlice:
      return "slice";
    case v1::Volume::kConcat:
      return "concat";
    case v1::Volume::kStripe:
      return "stripe";
    case v1::Volume::kMirror:
      return "mirror";
    default:
      return "-";
  }
}

std::string MadeOf(const v1::Volume& spec) {
  switch (spec.layout_case()) {
    case v1::Volume::kSlice:
      return absl::StrCat(spec.slice().of(), " from ", SizeText(spec.slice().offset_bytes()));
    case v1::Volume::kConcat:
      return JoinText(spec.concat().leg());
    case v1::Volume::kStripe:
      return absl::StrCat(JoinText(spec.stripe().leg()), " in chunks of ",
                          SizeText(spec.stripe().chunk_bytes()));
    case v1::Volume::kMirror:
      return JoinText(spec.mirror().leg());
    default:
      return "-";
  }
}

void PrintVolume(const v1::VolumeStatus& volume, bool json) {
  if (json) return Print(JsonOf(volume) + "\n");
  Facts facts;
  facts.Add("name", volume.spec().name());
  facts.Add("layout", LayoutOf(volume.spec()));
  facts.Add("of", MadeOf(volume.spec()));
  if (volume.spec().concat().leg_bytes_size() > 0) {
    facts.Add("leg bytes", absl::StrJoin(volume.spec().concat().leg_bytes(), " "));
  }
  facts.Add("size", absl::StrCat(SizeText(volume.size_bytes()), " (", volume.size_bytes(), ")"));
  facts.Add("block", SizeText(volume.block_size_bytes()));
  facts.Add("reactor",
            volume.home_reactor() < 0 ? std::string("all") : absl::StrCat(volume.home_reactor()));
  facts.Add("used by", JoinText(volume.used_by()));
  facts.Add("made", volume.made_at_run_time() ? "at run time" : "by the config file");
  facts.Add("etag", volume.etag());
  Print(facts.Text(WantsColour()));
}

// After a change.
int Tell(const v1::VolumeStatus& volume, const char* what, bool json) {
  if (json) return PrintVolume(volume, true), 0;
  Print(absl::StrCat("volume ", volume.spec().name(), " ", what, ", ",
                     SizeText(volume.size_bytes()), "\n"));
  return 0;
}

}  // namespace

int ListVolumes(const Link& link, bool json) {
  const auto volumes =
      AskAll(link, *StubOf(link), &Stub::ListVolumes, &v1::ListVolumesResponse::mutable_volumes);
  if (!volumes.ok()) return Fail(volumes.status());
  if (json) return Print(JsonList(*volumes)), 0;
  Table table({"NAME", "LAYOUT", ">SIZE", "OF", "USED BY"});
  for (const v1::VolumeStatus& volume : *volumes) {
    table.Add({volume.spec().name(), LayoutOf(volume.spec()), SizeText(volume.size_bytes()),
               MadeOf(volume.spec()), JoinText(volume.used_by())});
  }
  Print(table.Text(WantsColour()));
  return 0;
}

int ShowVolume(const Link& link, const std::string& name, bool json) {
  v1::GetVolumeRequest request;
  request.set_name(name);
  const auto answer = Ask(link, *StubOf(link), &Stub::GetVolume, request);
  if (!answer.ok()) return Fail(answer.status());
  PrintVolume(answer->volume(), json);
  return 0;
}

int CreateVolume(const Link& link, v1::CreateVolumeRequest request, bool json) {
  if (request.request_id().empty()) request.set_request_id(NewRequestId());
  const auto answer = Ask(link, *StubOf(link), &Stub::CreateVolume, request);
  if (!answer.ok()) return Fail(answer.status());
  return Tell(answer->volume(), "created", json);
}

int GrowVolume(const Link& link, v1::GrowVolumeRequest request, bool json) {
  if (request.request_id().empty()) request.set_request_id(NewRequestId());
  const auto answer = Ask(link, *StubOf(link), &Stub::GrowVolume, request);
  if (!answer.ok()) return Fail(answer.status());
  return Tell(answer->volume(), "has grown", json);
}

int DeleteVolume(const Link& link, v1::DeleteVolumeRequest request) {
  if (request.request_id().empty()) request.set_request_id(NewRequestId());
  const auto answer = Ask(link, *StubOf(link), &Stub::DeleteVolume, request);
  if (!answer.ok()) return Fail(answer.status());
  Print(absl::StrCat("volume ", request.name(), " deleted; the data stays on its disks\n"));
  return 0;
}

}  // namespace sluice::control
