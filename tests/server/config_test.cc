// SPDX-License-Identifier: Apache-2.0
#include "server/config.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

namespace sluice {
namespace {

std::string Error(const std::string& text) {
  const auto config = ParseConfig("sluice.conf", text);
  return config.ok() ? "ok" : std::string(config.status().message());
}

// A config that is good, with `more` put before it.
std::string With(const std::string& more) {
  return more +
         "\ndisk { name: \"d\" memory_bytes: 1048576 }\nexport { name: \"e\" volume: \"d\" }\n";
}

// A gRPC door over TLS; `more` stands beside it.
std::string Tls(const std::string& tls, const std::string& more = "") {
  return "grpc { listen: \"0.0.0.0:1\" tls { " + tls + " }" + more + " }";
}
const std::string kFiles = "cert: \"c\" key: \"k\" client_ca: \"a\"";

TEST(Config, ReadsTheWholeSchemaFromText) {
  const auto config = ParseConfig("f", R"(
    nbd { listen: "127.0.0.1:10809" listen: "unix:/run/s.sock" socket_mode: "0660"
          socket_owner: "root:root" default_export: "fast" }
    http { socket_mode: "0666" insecure_tcp: true }
    disk { name: "d0" path: "/srv/d0.img" bufq: "deadline" depth: 64
           create_bytes: 1073741824 gather: false }
    disk { name: "d1" path: "/dev/sdb" buffered: true read_only: true
           block_size_bytes: 4096 io_timeout_s: 5 cylinder_bytes: 1048576 }
    disk { name: "ram" memory_bytes: 67108864 }
    volume { name: "fast" stripe { chunk_bytes: 65536 leg: "d0" leg: "d1" } }
    volume { name: "long" concat { leg: "ram" leg: "fast" } }
    volume { name: "part" slice { of: "long" offset_bytes: 1048576 size_bytes: 512 } }
    export { name: "fast" volume: "fast" description: "two drives" priority: 0 weight: 7 }
    export { name: "part" volume: "part" read_only: true allow: "vm7" allow: "unix" }
    grpc { listen: "[::]:10810" connections_per_host: 9
           tls { cert: "/c" key: "/k" client_ca: "/a" admin: "ops" } }
    disk_roots: "/srv"
    limits { handshakes: 3 connections: 4 handshake_timeout_s: 5 payload_timeout_s: 6
             idle_timeout_s: 7 io_timeout_s: 8 drain_timeout_s: 9 requests_per_connection: 10
             pool_bytes: 134217728 }
    reactors: 2
    poll_us: 0
    strategy_dir: "/usr/lib/sluice"
    state_dir: "/srv/state"
  )");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->nbd.listen[1].path, "/run/s.sock");
  EXPECT_EQ(config->nbd.socket_mode, 0660u);
  EXPECT_EQ(config->nbd.default_export, "fast");
  ASSERT_EQ(config->http.listen.size(), 1u);
  EXPECT_EQ(config->http.listen[0].ToString(), "127.0.0.1:10811");
  EXPECT_EQ(config->http.socket_mode, 0666u);
  EXPECT_TRUE(config->http.insecure_tcp);
  EXPECT_EQ(config->topology.disks[0].depth, 64u);
  EXPECT_EQ(config->topology.disks[0].size_bytes, kGiB);
  EXPECT_FALSE(config->topology.disks[0].gather);
  EXPECT_TRUE(config->topology.disks[1].gather);
  EXPECT_TRUE(config->topology.disks[1].buffered);
  EXPECT_EQ(config->topology.disks[1].block_size, 4096u);
  EXPECT_EQ(config->topology.disks[1].cylinder_bytes, 1048576u);
  EXPECT_EQ(config->topology.disks[2].kind, DiskSpec::Kind::kMemory);
  EXPECT_EQ(config->topology.volumes[0].chunk_bytes, 65536u);
  EXPECT_EQ(config->topology.volumes[1].legs, (std::vector<std::string>{"ram", "fast"}));
  EXPECT_EQ(config->topology.volumes[2].offset_bytes, kMiB);
  EXPECT_EQ(config->exports[0].priority, 0u);
  EXPECT_EQ(config->exports[0].weight, 7u);
  EXPECT_EQ(config->exports[1].priority, 1u);
  EXPECT_TRUE(config->exports[1].read_only);
  EXPECT_EQ(config->exports[1].allow, (std::vector<std::string>{"vm7", "unix"}));
  EXPECT_EQ(config->grpc.connections_per_host, 9u);
  ASSERT_TRUE(config->grpc.tls.has_value());
  EXPECT_EQ(config->grpc.tls->cert, "/c");
  EXPECT_EQ(config->grpc.tls->key, "/k");
  EXPECT_EQ(config->grpc.tls->client_ca, "/a");
  EXPECT_EQ(config->grpc.tls->admin, (std::vector<std::string>{"ops"}));
  EXPECT_EQ(config->limits.requests_per_connection, 10u);
  EXPECT_EQ(config->limits.idle_timeout_s, 7u);
  EXPECT_EQ(config->reactors, 2u);
  EXPECT_EQ(config->state_dir, "/srv/state");
  EXPECT_EQ(config->poll_us, 0u);
}

TEST(Config, ReadsTheSameFromJson) {
  const auto config = ParseConfig("f", R"({
    "nbd": {"listen": ["unix:/run/s.sock"]},
    "disk": [{"name": "ram", "memory_bytes": 67108864}],
    "volume": [{"name": "v", "concat": {"leg": ["ram"]}}],
    "export": [{"name": "v", "volume": "v"}]})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->nbd.listen[0].path, "/run/s.sock");
  EXPECT_EQ(config->topology.disks[0].size_bytes, 64 * kMiB);
  EXPECT_EQ(config->topology.volumes[0].legs, std::vector<std::string>{"ram"});
}

TEST(Config, WithoutADoorListensOnLoopbackOnly) {
  const auto config = ParseConfig("f", With(""));
  ASSERT_TRUE(config.ok()) << config.status();
  ASSERT_EQ(config->nbd.listen.size(), 1u);
  EXPECT_EQ(config->nbd.listen[0].ToString(), "127.0.0.1:10809");
}

struct BadText {
  const char* name;
  std::string text;
  const char* error;  // how the message begins
};

class ConfigTextError : public testing::TestWithParam<BadText> {};

// A8: one line with file, line and key.
TEST_P(ConfigTextError, NamesFileLineAndKey) {
  const std::string error = Error(GetParam().text);
  EXPECT_EQ(error.rfind(GetParam().error, 0), 0u) << error;
  EXPECT_EQ(error.find('\n'), std::string::npos) << error;
}

std::string Nested(int levels) {
  std::string text = "volume { name: \"v0\" concat { leg: \"d\" } }\n";
  for (int i = 1; i < levels; ++i) {
    text += "volume { name: \"v" + std::to_string(i) + "\" concat { leg: \"v" +
            std::to_string(i - 1) + "\" } }\n";
  }
  return text;
}

INSTANTIATE_TEST_SUITE_P(
    Table, ConfigTextError,
    testing::Values(
        BadText{"Empty", "", "sluice.conf:1: disk: is missing"},
        BadText{"NoExport", "disk { name: \"d\" null_bytes: 512 }",
                "sluice.conf:1: export: is missing"},
        BadText{"Syntax", "disk {\n  name \"d\"\n}", "sluice.conf:2: name: "},
        BadText{"Unclosed", "disk {\n", "sluice.conf:2: "},
        BadText{"UnknownField", "disk {\n  dpeth: 3\n}", "sluice.conf:2: dpeth: "},
        BadText{"WrongType", "disk {\n\n  depth: \"x\"\n}", "sluice.conf:3: depth: "},
        BadText{"Negative", "disk {\n  depth: -1\n}", "sluice.conf:2: depth: "},
        BadText{"Overflow", "disk {\n  depth: 4294967296\n}", "sluice.conf:2: depth: "},
        BadText{"TwiceSet", "reactors: 1\nreactors: 2\n", "sluice.conf:2: reactors: "},
        BadText{"TwoBackings", "disk { name: \"d\" path: \"/x\"\n memory_bytes: 512 }",
                "sluice.conf:2: memory_bytes: "},
        BadText{"DepthRange", With("\ndisk { name: \"x\" null_bytes: 512\n depth: 1025 }"),
                "sluice.conf:3: disk[0].depth: 1025 is out of range: give 1 to 1024"},
        BadText{"CylinderPower", With("disk { name: \"x\" null_bytes: 512 cylinder_bytes: 1000 }"),
                "sluice.conf:1: disk[0].cylinder_bytes: 1000 is no power of two"},
        BadText{"BlockPower", With("disk { name: \"x\" null_bytes: 4096 block_size_bytes: 1000 }"),
                "sluice.conf:1: disk[0].block_size_bytes: 1000 is no power of two"},
        BadText{"SizeNoBlocks", With("disk { name: \"x\" memory_bytes: 1000 }"),
                "sluice.conf:1: disk[0].memory_bytes: 1000 is no multiple"},
        BadText{"NoBacking", With("\n\ndisk { name: \"x\" }"),
                "sluice.conf:3: disk[0]: has no backing"},
        BadText{"CreateMemory", With("disk { name: \"x\" memory_bytes: 512 create_bytes: 512 }"),
                "sluice.conf:1: disk[0].create_bytes: goes with path only"},
        BadText{"BadStrategy", With("disk { name: \"x\" null_bytes: 512 bufq: \"../evil\" }"),
                "sluice.conf:1: disk[0].bufq: \"../evil\" is no strategy's name"},
        BadText{"DiskName", With("disk { name: \"a b\" null_bytes: 512 }"),
                "sluice.conf:1: disk[0].name: \"a b\" is no name"},
        BadText{"SameName", With("volume { name: \"d\" concat { leg: \"d\" } }"),
                "sluice.conf:1: volume[0].name: \"d\" is the name of two"},
        BadText{"UnknownLeg",
                With("volume {\n name: \"v\"\n concat {\n leg: \"d\"\n leg: \"nope\" } }"),
                "sluice.conf:5: volume[0].concat.leg[1]: \"nope\" is no disk or volume"},
        BadText{"LegTwice", With("volume { name: \"v\" concat { leg: \"d\" leg: \"d\" } }"),
                "sluice.conf:1: volume[0].concat.leg[1]: \"d\" is a leg twice"},
        BadText{"SharedLeg",
                With("volume { name: \"v\" concat { leg: \"d\" } }\n"
                     "volume { name: \"w\" concat { leg: \"d\" } }"),
                "sluice.conf:2: volume[1]: leg: "},
        BadText{"NoLegs", With("volume { name: \"v\" stripe { chunk_bytes: 65536 } }"),
                "sluice.conf:1: volume[0].stripe.leg: is missing"},
        BadText{"Chunk", With("volume { name: \"v\" stripe { chunk_bytes: 4096 leg: \"d\" } }"),
                "sluice.conf:1: volume[0].stripe.chunk_bytes: 4096 is no chunk"},
        BadText{"SliceSize", With("volume { name: \"v\" slice { of: \"d\" size_bytes: 100 } }"),
                "sluice.conf:1: volume[0].slice.size_bytes: give a multiple"},
        BadText{"SliceOf", With("volume { name: \"v\" slice { size_bytes: 512 } }"),
                "sluice.conf:1: volume[0].slice.of: is missing"},
        BadText{"NoLayout", With("volume { name: \"v\" }"),
                "sluice.conf:1: volume[0]: has no layout"},
        BadText{"Mirror", With("volume { name: \"v\" mirror { leg: \"d\" } }"),
                "sluice.conf:1: volume[0].mirror: comes with a later release"},
        BadText{"Grpc", With("\ngrpc { listen: \"127.0.0.1:1\" }"),
                "sluice.conf:2: grpc.listen[0]: 127.0.0.1:1 is plain TCP"},
        BadText{"GrpcConnections", With("grpc { connections: 10001 }"),
                "sluice.conf:1: grpc.connections: 10001 is out of range"},
        BadText{"GrpcHost", With("grpc { connections_per_host: 10001 }"),
                "sluice.conf:1: grpc.connections_per_host: 10001 is out of range"},
        BadText{"TlsKey", With(Tls("cert: \"c\" client_ca: \"a\"")),
                "sluice.conf:1: grpc.tls.key: is missing: name a file"},
        BadText{"TlsAuthority", With(Tls("cert: \"c\" key: \"k\"")),
                "sluice.conf:1: grpc.tls.client_ca: is missing: name a file"},
        BadText{"TlsAdmin", With(Tls(kFiles + "\n admin: \"a\" admin: \"\"")),
                "sluice.conf:2: grpc.tls.admin[1]: \"\" is no certificate's name"},
        BadText{"TlsInsecure", With(Tls(kFiles, "\n insecure_tcp: true")),
                "sluice.conf:2: grpc.insecure_tcp: goes against tls"},
        BadText{"TlsForNobody", With("grpc { listen: \"unix:/x\" tls { " + kFiles + " } }"),
                "sluice.conf:1: grpc.tls: serves nobody"},
        BadText{"Allow",
                "disk { name: \"d\" null_bytes: 512 } "
                "export { name: \"e\" volume: \"d\" allow: \"a\" allow: \"b\\n\" }",
                "sluice.conf:1: export[0].allow[1]: \"b\\n\" is no certificate's name"},
        BadText{"GrpcLease", With("grpc { lease_s: 3601 }"),
                "sluice.conf:1: grpc.lease_s: 3601 is out of range"},
        BadText{"Http", With("\nhttp { listen: \"[::]:1\" }"),
                "sluice.conf:2: http.listen[0]: [::]:1 is plain TCP beyond loopback"},
        BadText{"HttpAddress", With("http { listen: \"x\" }"),
                "sluice.conf:1: http.listen[0]: \"x\" is no address"},
        BadText{
            "Cycle",
            With("volume { name: \"a\" concat { leg: \"b\" } }\nvolume { name: \"b\" concat { leg: "
                 "\"a\" } }"),
            "sluice.conf:1: volume[0].name: \"a\" nests deeper than 4 volumes or contains itself"},
        BadText{"TooDeep", With(Nested(5)), "sluice.conf:5: volume[4].name: \"v4\" nests deeper"},
        BadText{"ExportTwice", With("export { name: \"e\" volume: \"d\" }"),
                "sluice.conf:3: export[1].name: \"e\" is exported twice"},
        BadText{"ExportName", With("export { name: \"a\\000b\" volume: \"d\" }"),
                "sluice.conf:1: export[0].name: \"a\\x00"},
        BadText{"ExportVolume", With("export { name: \"x\" volume: \"q\" }"),
                "sluice.conf:1: export[0].volume: \"q\" is no disk"},
        BadText{"Priority", With("export { name: \"x\" volume: \"d\" priority: 3 }"),
                "sluice.conf:1: export[0].priority: 3 is out"},
        BadText{"DefaultExport", With("nbd { default_export: \"x\" }"),
                "sluice.conf:1: nbd.default_export: \"x\" is no export"},
        BadText{"Address", With("nbd { listen: \"nowhere\" }"),
                "sluice.conf:1: nbd.listen[0]: \"nowhere\" is no address"},
        BadText{"Insecure", With("nbd {\n listen: \"[::1]:1\"\n listen: \"0.0.0.0:1\" }"),
                "sluice.conf:3: nbd.listen[1]: 0.0.0.0:1 is plain TCP beyond loopback"},
        BadText{"ListenTwice", With("nbd { listen: \"unix:/a\" listen: \"unix:/a\" }"),
                "sluice.conf:1: nbd.listen[1]: unix:/a is there twice"},
        BadText{"Mode", With("nbd { socket_mode: \"0888\" }"),
                "sluice.conf:1: nbd.socket_mode: \"0888\""},
        BadText{"Limit", With("limits {\n drain_timeout_s: 3601 }"),
                "sluice.conf:2: limits.drain_timeout_s: 3601 is out of range"},
        BadText{"Pool", With("limits { pool_bytes: 1 }"),
                "sluice.conf:1: limits.pool_bytes: 1 is out of range"},
        BadText{"PollUs", With("poll_us: 1001"), "sluice.conf:1: poll_us: 1001 is out of range"},
        BadText{"Reactors", With("reactors: 65"), "sluice.conf:1: reactors: 65 is out of range"},
        BadText{"State", With("state_dir: \"srv\""),
                "sluice.conf:1: state_dir: \"srv\" is no absolute folder"},
        BadText{"Root", With("disk_roots: \"srv\""),
                "sluice.conf:1: disk_roots[0]: \"srv\" is no absolute folder"}),
    [](const auto& row) { return row.param.name; });

TEST(Config, NestsFourVolumesDeep) { EXPECT_EQ(Error(With(Nested(4))), "ok"); }

TEST(Config, AllowsTcpBeyondLoopbackOnlyWhenTold) {
  EXPECT_EQ(Error(With("nbd { listen: \"0.0.0.0:10809\" insecure_tcp: true }")), "ok");
  EXPECT_EQ(Error(With(Tls(kFiles))), "ok");
}

TEST(Config, JsonErrorsNameTheKeysPath) {
  EXPECT_EQ(Error(R"({"disk": [{"name": "d", "null_bytes": 512, "depth": 5000}], "export": []})")
                .rfind("sluice.conf: disk[0].depth: 5000 is out of range", 0),
            0u);
  const std::string unknown = Error(R"({"disk": [{"name": "d", "dpeth": 1}]})");
  EXPECT_NE(unknown.find("dpeth"), std::string::npos) << unknown;
  EXPECT_NE(unknown.find("disk[0]"), std::string::npos) << unknown;
  const std::string type = Error(R"({"disk": [{"name": "d", "depth": "many"}]})");
  EXPECT_NE(type.find("disk[0].depth"), std::string::npos) << type;
  for (const char* broken : {"{", "{\"disk\": [", "{\"disk\": 1}", "{]", "{\"reactors\": 1e99}"}) {
    const std::string error = Error(broken);
    EXPECT_EQ(error.rfind("sluice.conf: ", 0), 0u) << error;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  }
}

TEST(Config, HostileTextIsBounded) {
  std::string deep = "disk { name: ";
  for (int i = 0; i < 100000; ++i) deep += "disk {";
  EXPECT_NE(Error(deep), "ok");
  std::string json = "{\"x\":";
  for (int i = 0; i < 100000; ++i) json += "[";
  EXPECT_NE(Error(json), "ok");
  EXPECT_EQ(Error(std::string(2 * kMiB, '#')), "sluice.conf: is larger than 1 MiB: no config is");
  std::string many;
  for (int i = 0; i < 1025; ++i)
    many += "disk {name:\"x" + std::to_string(i) + "\" null_bytes:512}\n";
  EXPECT_EQ(Error(many).rfind("sluice.conf:1025: disk[1024]: too many", 0), 0u) << Error(many);
  for (int byte = 0; byte < 256; ++byte)
    EXPECT_NE(Error(std::string(3, static_cast<char>(byte))), "ok");
}

TEST(Config, EveryTruncationIsRefusedOrWhole) {
  const std::string good = With("nbd { listen: \"unix:/run/x\" }");
  for (size_t n = 0; n < good.size() - 1; ++n) EXPECT_NE(Error(good.substr(0, n)), "ok") << n;
  EXPECT_EQ(Error(good), "ok");
}

TEST(Config, AFileThatCannotBeReadIsNamed) {
  EXPECT_EQ(
      LoadConfig("/nonexistent/sluice.conf").status().message(),
      "/nonexistent/sluice.conf: cannot be read: No such file or directory; name a readable file");
  EXPECT_EQ(LoadConfig("/").status().message().substr(0, 20), "/: cannot be read: I");
}

TEST(Config, AFileIsReadWhole) {
  const std::string path = testing::TempDir() + "/sluice_config_test.conf";
  std::ofstream(path) << With("reactors: 3");
  const auto config = LoadConfig(path);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->reactors, 3u);
}

}  // namespace
}  // namespace sluice
