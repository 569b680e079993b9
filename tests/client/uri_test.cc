// SPDX-License-Identifier: Apache-2.0
#include "client/uri.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace sluice {
namespace {

using ::testing::HasSubstr;

TEST(NbdUri, TcpHasTheRegisteredPortUnlessItSaysAnother) {
  EXPECT_EQ(ParseNbdUri("nbd://127.0.0.1").value(), (NbdUri{"127.0.0.1", 10809, "", ""}));
  EXPECT_EQ(ParseNbdUri("nbd://host.example/").value(), (NbdUri{"host.example", 10809, "", ""}));
  EXPECT_EQ(ParseNbdUri("nbd://h:1/disk").value(), (NbdUri{"h", 1, "", "disk"}));
  EXPECT_EQ(ParseNbdUri("nbd://h:65535/").value().port, 65535);
}

TEST(NbdUri, Ipv6StandsInBrackets) {
  EXPECT_EQ(ParseNbdUri("nbd://[::1]/x").value(), (NbdUri{"::1", 10809, "", "x"}));
  EXPECT_EQ(ParseNbdUri("nbd://[fe80::1%25eth0]:7").value(), (NbdUri{"fe80::1%eth0", 7, "", ""}));
  EXPECT_FALSE(ParseNbdUri("nbd://[fe80::1%eth0]/").ok());
  EXPECT_FALSE(ParseNbdUri("nbd://::1/x").ok());
  EXPECT_FALSE(ParseNbdUri("nbd://[::1/x").ok());
  EXPECT_FALSE(ParseNbdUri("nbd://[::1]x/").ok());
}

TEST(NbdUri, AUnixSocketIsNamedByItsQuery) {
  EXPECT_EQ(ParseNbdUri("nbd+unix:///disk?socket=/run/a.sock").value(),
            (NbdUri{"", 0, "/run/a.sock", "disk"}));
  EXPECT_EQ(ParseNbdUri("nbd+unix://?socket=rel.sock").value(), (NbdUri{"", 0, "rel.sock", ""}));
  EXPECT_TRUE(ParseNbdUri("nbd+unix:///?socket=a")->is_unix());
}

TEST(NbdUri, NamesAndPathsAreUnescapedOnce) {
  EXPECT_EQ(ParseNbdUri("nbd://h/a%2Fb%20c%2541").value().export_name, "a/b c%41");
  EXPECT_EQ(ParseNbdUri("nbd://h/a/b").value().export_name, "a/b");
  EXPECT_EQ(ParseNbdUri("nbd://h/%c3%bc").value().export_name, "\xc3\xbc");
  EXPECT_EQ(ParseNbdUri("nbd+unix:///?socket=/a%3fb").value().socket, "/a?b");
}

TEST(NbdUri, WhatIsMalformedIsRefused) {
  for (const char* bad : {"",
                          "nbd:",
                          "nbd:/h",
                          "http://h/",
                          "nbd://",
                          "nbd:///x",
                          "nbd://h:0",
                          "nbd://h:65536",
                          "nbd://h:",
                          "nbd://h:1x",
                          "nbd://h:-1",
                          "nbd://h:99999999999999999999",
                          "nbd://a b/",
                          "nbd://h/%",
                          "nbd://h/%2",
                          "nbd://h/%zz",
                          "nbd://h/%00",
                          "nbd://h/%ff",
                          "nbd://h/#x",
                          "nbd://h/?socket=/x",
                          "nbd://u@h/",
                          "nbd+unix:///x",
                          "nbd+unix:///x?",
                          "nbd+unix:///x?a=b",
                          "nbd+unix:///x?socket=",
                          "nbd+unix:///x?socket=/a&b=c",
                          "nbd+unix://h/x?socket=/a",
                          "nbd+unix:///x?socket=/%0",
                          "NBD://h/"}) {
    const auto uri = ParseNbdUri(bad);
    EXPECT_EQ(uri.status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(NbdUri, WhatIsTooLongIsRefused) {
  EXPECT_TRUE(ParseNbdUri("nbd+unix:///?socket=" + std::string(107, 'p')).ok());
  EXPECT_FALSE(ParseNbdUri("nbd+unix:///?socket=" + std::string(108, 'p')).ok());
  EXPECT_TRUE(ParseNbdUri("nbd://h/" + std::string(4096, 'n')).ok());
  EXPECT_FALSE(ParseNbdUri("nbd://h/" + std::string(4097, 'n')).ok());
  EXPECT_FALSE(ParseNbdUri("nbd://" + std::string(254, 'h') + "/").ok());
}

TEST(NbdUri, ARefusalNamesTheCure) {
  const auto message = [](const char* text) {
    return std::string(ParseNbdUri(text).status().message());
  };
  EXPECT_THAT(message("nbds://h/"), HasSubstr("TLS is not supported yet"));
  EXPECT_THAT(message("nbd:unix:/a:exportname=b"), HasSubstr("nbd+unix:///EXPORT?socket=PATH"));
  EXPECT_THAT(message("127.0.0.1:10809"), HasSubstr("nbd://HOST[:PORT]/EXPORT"));
  EXPECT_THAT(message("nbd://h/50%"), HasSubstr("%25"));
  EXPECT_THAT(message("a\nb"), HasSubstr("\"a\\nb\""));
}

TEST(SluiceUri, HasTheSameShapeAndAPortOfItsOwn) {
  EXPECT_EQ(ParseSluiceUri("sluice://h.example/disk").value(),
            (SluiceUri{"h.example", 10810, "", "disk"}));
  EXPECT_EQ(ParseSluiceUri("sluice://[::1]:7/a%2Fb").value(), (SluiceUri{"::1", 7, "", "a/b"}));
  EXPECT_EQ(ParseSluiceUri("sluice+unix:///disk?socket=/run/a.sock").value(),
            (SluiceUri{"", 0, "/run/a.sock", "disk"}));
  for (const char* bad :
       {"sluice:", "sluice://", "sluice+unix:///disk", "sluice://h:0/", "nbd://h/",
        "sluice+unix://h/x?socket=/a", "sluice://h/x?socket=/a", "sluices://h/"}) {
    const auto uri = ParseSluiceUri(bad);
    ASSERT_FALSE(uri.ok()) << bad;
    EXPECT_THAT(std::string(uri.status().message()), HasSubstr("sluice")) << bad;
  }
}

TEST(SluiceUri, IsToldByItsScheme) {
  EXPECT_TRUE(IsSluiceUri("sluice://h/"));
  EXPECT_TRUE(IsSluiceUri("sluice+unix:///?socket=a"));
  EXPECT_FALSE(IsSluiceUri("nbd://sluice://h/"));
  EXPECT_FALSE(IsSluiceUri("sluice:/h"));
}

}  // namespace
}  // namespace sluice
