// SPDX-License-Identifier: Apache-2.0
#include "server/address.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "core/size.h"
#include "server/text.h"

namespace sluice {
namespace {

TEST(Address, ReadsWhatItWrites) {
  for (const char* text :
       {"127.0.0.1:10809", "[::1]:0", "[::]:65535", "localhost:1", "my-host.example:80",
        "unix:/run/sluice/nbd.sock", "unix:relative:with:colons"}) {
    const auto address = ParseAddress(text);
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_EQ(address->ToString(), text);
    EXPECT_EQ(*ParseAddress(address->ToString()), *address);
  }
}

TEST(Address, RefusesWhatIsNone) {
  const char* const refused[] = {"",
                                 ":",
                                 "host",
                                 "host:",
                                 ":1",
                                 "host:65536",
                                 "host:-1",
                                 "host:1x",
                                 "host: 1",
                                 "::1:80",
                                 "[::1:80",
                                 "[::1]80",
                                 "[zz]:1",
                                 "[]:1",
                                 "ho st:1",
                                 "unix:",
                                 "host:99999999999999999999"};
  for (const char* text : refused) EXPECT_FALSE(ParseAddress(text).ok()) << text;
  EXPECT_FALSE(ParseAddress(absl::string_view("unix:/a\0b", 9)).ok());
  EXPECT_FALSE(ParseAddress(absl::StrCat(std::string(300, 'h'), ":1")).ok());
  EXPECT_FALSE(ParseAddress(absl::StrCat("unix:/", std::string(107, 'x'))).ok());
  EXPECT_TRUE(ParseAddress(absl::StrCat("unix:/", std::string(106, 'x'))).ok());
}

TEST(Address, KnowsLoopback) {
  for (const char* text :
       {"127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "LocalHost:1", "unix:/x"}) {
    EXPECT_TRUE(ParseAddress(text)->IsLocal()) << text;
  }
  for (const char* text :
       {"0.0.0.0:1", "128.0.0.1:1", "[::]:1", "[::ffff:8.8.8.8]:1", "example.org:1", "127.1:1"}) {
    EXPECT_FALSE(ParseAddress(text)->IsLocal()) << text;
  }
}

TEST(Size, ReadsBytesAndBinaryUnits) {
  EXPECT_EQ(*ParseSize("0"), 0u);
  EXPECT_EQ(*ParseSize("512"), 512u);
  EXPECT_EQ(*ParseSize("512B"), 512u);
  EXPECT_EQ(*ParseSize("4K"), 4096u);
  EXPECT_EQ(*ParseSize("4KiB"), 4096u);
  EXPECT_EQ(*ParseSize("512M"), uint64_t{512} << 20);
  EXPECT_EQ(*ParseSize("1GiB"), uint64_t{1} << 30);
  EXPECT_EQ(*ParseSize("7EiB"), uint64_t{7} << 60);
  EXPECT_EQ(*ParseSize("9223372036854775807"), uint64_t{INT64_MAX});
}

TEST(Size, RefusesTheRest) {
  for (const char* text :
       {"", "K", "-1", "+1", "1.5G", "1 G", "1GB", "1g", "1KiBs", "8E", "9223372036854775808",
        "0x10", "18446744073709551616", "1Gi", "99999999999999999999999"}) {
    EXPECT_FALSE(ParseSize(text).ok()) << text;
  }
}

TEST(Text, QuoteKeepsOneLineOfPrintableAscii) {
  EXPECT_EQ(Quote("a\"b\n\xff"), "\"a\\\"b\\n\\xff\"");
  EXPECT_EQ(Quote(std::string(1000, 'x')).size(), 205u);
}

TEST(Text, PlainTextIsUtf8WithoutControls) {
  for (const char* good :
       {"", "disk", "d\xc3\xa9j\xc3\xa0", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xef\xbf\xbd"}) {
    EXPECT_TRUE(IsPlainText(good)) << good;
  }
  for (const char* bad : {"\n", "\x7f", "\x80", "\xc3", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80",
                          "\xed\xa0\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80",
                          "\xf5\x80\x80\x80", "\xe2\x82", "\xe2\x28\xa1", "\xff"}) {
    EXPECT_FALSE(IsPlainText(bad));
  }
  EXPECT_FALSE(IsPlainText(absl::string_view("a\0b", 3)));
}

}  // namespace
}  // namespace sluice
