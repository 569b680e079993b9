// SPDX-License-Identifier: Apache-2.0
// `sluice volume ...`
#include "client/cli/tree.h"

namespace sluice::cli {
namespace {

using control::Link;
using control::Named;
using Create = std::shared_ptr<v1::CreateVolumeRequest>;

Create AddName(CLI::App& app) {
  auto request = std::make_shared<v1::CreateVolumeRequest>();
  AddPlace(app, "NAME", "what it will be called",
           [request](const std::string& name) { request->mutable_volume()->set_name(name); });
  return request;
}

void AddLegs(Tree& tree, CLI::App& app, std::function<void(const std::string&)> add) {
  CLI::Option* const legs = app.add_option_function<std::vector<std::string>>(
      "LEG",
      [add](const std::vector<std::string>& names) {
        for (const std::string& name : names) add(name);
      },
      "disks or volumes, 1 to 64, in this order");
  legs->required()->expected(1, 64);
  tree.SetHint(legs, {.named = Named::kTarget});
}

void AddLegBytes(CLI::App& concat, const Create& request) {
  const char* const name = "--leg-bytes";
  concat
      .add_option_function<std::vector<std::string>>(
          name,
          [name, request](const std::vector<std::string>& sizes) {
            for (const std::string& text : sizes) {
              uint64_t bytes = 0;
              const absl::Status status = TakeSize(name, text, bytes);
              if (!status.ok()) throw CLI::ValidationError(std::string(status.message()));
              request->mutable_volume()->mutable_concat()->add_leg_bytes(bytes);
            }
          },
          "what it has of each leg but the last; of others what they have, or it had of them")
      ->option_text("SIZE ...")
      ->expected(1, 63);
}

void FinishCreate(Tree& tree, CLI::App& app, const Create& request) {
  AddChange(app, request);
  const auto json = AddJson(app);
  tree.Control(
      app, [request, json](const Link& l) { return control::CreateVolume(l, *request, *json); });
}

void DeclareCreate(Tree& tree, CLI::App& volume) {
  CLI::App& create = tree.Add(volume, "create", "arrange disks and volumes");
  create.require_subcommand(1);

  CLI::App& slice = tree.Add(create, "slice", "a part of one disk or volume");
  const Create sliced = AddName(slice);
  tree.SetHint(AddPlace(slice, "OF", "the disk or volume it is a part of",
                        [sliced](const std::string& name) {
                          sliced->mutable_volume()->mutable_slice()->set_of(name);
                        }),
               {.named = Named::kTarget});
  AddSize(slice, "--offset", "SIZE [0]", "where it begins", [sliced](uint64_t bytes) {
    sliced->mutable_volume()->mutable_slice()->set_offset_bytes(bytes);
  });
  AddSize(slice, "--size", "SIZE", "how long it is", [sliced](uint64_t bytes) {
    sliced->mutable_volume()->mutable_slice()->set_size_bytes(bytes);
  })->required();
  slice.footer("Examples:\n  sluice volume create slice part d0 --offset 1M --size 1G");
  FinishCreate(tree, slice, sliced);

  CLI::App& concat = tree.Add(create, "concat", "one behind the other");
  const Create joined = AddName(concat);
  AddLegs(tree, concat, [joined](const std::string& name) {
    joined->mutable_volume()->mutable_concat()->add_leg(name);
  });
  AddLegBytes(concat, joined);
  concat.footer(
      "A leg may become longer later: what lies behind it stays where it is.\n\n"
      "Examples:\n  sluice volume create concat long d2 d3\n"
      "  sluice volume create concat long d2 d3 --leg-bytes 4G");
  FinishCreate(tree, concat, joined);

  CLI::App& stripe = tree.Add(create, "stripe", "chunks dealt to the legs in turn");
  const Create striped = AddName(stripe);
  striped->mutable_volume()->mutable_stripe()->set_chunk_bytes(65536);
  AddLegs(tree, stripe, [striped](const std::string& name) {
    striped->mutable_volume()->mutable_stripe()->add_leg(name);
  });
  AddSize(stripe, "--chunk", "SIZE [64K]", "a power of two, 64K to 1G", [striped](uint64_t bytes) {
    striped->mutable_volume()->mutable_stripe()->set_chunk_bytes(bytes);
  });
  stripe.footer(
      "Each leg is cut to the smallest.\n\n"
      "Examples:\n  sluice volume create stripe fast d0 d1 --chunk 128K");
  FinishCreate(tree, stripe, striped);
}

void DeclareChanges(Tree& tree, CLI::App& volume) {
  CLI::App& grow = tree.Add(volume, "grow", "a slice longer, or a concat by further legs");
  auto grown = std::make_shared<v1::GrowVolumeRequest>();
  tree.SetHint(AddPlace(grow, "NAME", "the volume",
                        [grown](const std::string& name) { grown->set_name(name); }),
               {.named = Named::kVolume});
  CLI::Option* const size = AddSize(grow, "--size", "SIZE", "of a slice: its new size",
                                    [grown](uint64_t bytes) { grown->set_size_bytes(bytes); });
  CLI::Option* const add = grow.add_option_function<std::vector<std::string>>(
      "--add",
      [grown](const std::vector<std::string>& legs) {
        for (const std::string& leg : legs) grown->add_add_legs(leg);
      },
      "of a concat: disks or volumes to be put behind the last leg");
  add->option_text("LEG ...")->expected(1, 64)->excludes(size);
  tree.SetHint(add, {.named = Named::kTarget});
  AddChange(grow, grown);
  const auto json = AddJson(grow);
  grow.footer(
      "Never shorter. Examples:\n  sluice volume grow part --size 2G\n"
      "  sluice volume grow long --add d4");
  tree.Finish(grow, [&tree, grown, json]() -> absl::Status {
    if (grown->size_bytes() == 0 && grown->add_legs().empty()) {
      return absl::InvalidArgumentError("say how: --size SIZE for a slice, --add LEG for a concat");
    }
    tree.command().kind = ClientCommand::Kind::kControl;
    tree.command().control = [grown, json](const Link& l) {
      return control::GrowVolume(l, *grown, *json);
    };
    return absl::OkStatus();
  });

  CLI::App& remove = tree.Add(volume, "delete", "the arrangement, not the data");
  remove.alias("rm");
  auto deleted = std::make_shared<v1::DeleteVolumeRequest>();
  tree.SetHint(AddPlace(remove, "NAME", "the volume; nothing may stand on it",
                        [deleted](const std::string& name) { deleted->set_name(name); }),
               {.named = Named::kVolume});
  AddChange(remove, deleted);
  tree.Control(remove, [deleted](const Link& l) { return control::DeleteVolume(l, *deleted); });
}

}  // namespace

void DeclareVolumes(Tree& tree) {
  CLI::App& volume = tree.Add(tree.root(), "volume", "arrangements of disks");
  volume.group("The server's parts")->require_subcommand(1);
  CLI::App& list = tree.Add(volume, "list", "all of them");
  list.alias("ls");
  const auto list_json = AddJson(list);
  tree.Control(list, [list_json](const Link& l) { return control::ListVolumes(l, *list_json); });

  CLI::App& show = tree.Add(volume, "show", "one of them, with all that is known");
  auto name = std::make_shared<std::string>();
  tree.SetHint(AddPlace(show, "NAME", "the volume", [name](const std::string& n) { *name = n; }),
               {.named = Named::kVolume});
  const auto show_json = AddJson(show);
  tree.Control(
      show, [name, show_json](const Link& l) { return control::ShowVolume(l, *name, *show_json); });
  DeclareCreate(tree, volume);
  DeclareChanges(tree, volume);
}

}  // namespace sluice::cli
