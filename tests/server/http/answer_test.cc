// SPDX-License-Identifier: Apache-2.0
#include "server/http/answer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>

namespace sluice::http {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class AnswerTest : public testing::Test {
 protected:
  AnswerTest() : answerer_(MakePages()) {}

  Pages MakePages() {
    Pages pages;
    pages.emplace("/page", [this] {
      ++made_;
      return Page{status_, "the body\n"};
    });
    return pages;
  }
  std::string Ask(std::string_view line, std::string_view fields = "Host: x\r\n") {
    return answerer_.Answer(std::string(line) + "\r\n" + std::string(fields) + "\r\n");
  }

  int status_ = 200;
  int made_ = 0;
  Answerer answerer_;
};

TEST_F(AnswerTest, GetIsAnsweredWithThePageAndTheConnectionCloses) {
  const std::string answer = Ask("GET /page HTTP/1.1");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("Connection: close\r\n"));
  EXPECT_THAT(answer, HasSubstr("Content-Length: 9\r\n"));
  EXPECT_THAT(answer, HasSubstr("Content-Type: text/plain; charset=utf-8\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\nthe body\n"));
  EXPECT_THAT(Ask("GET /page?with=query HTTP/1.0"), EndsWith("\r\n\r\nthe body\n"));
}

TEST_F(AnswerTest, HeadIsAnsweredWithoutTheBody) {
  const std::string answer = Ask("HEAD /page HTTP/1.1");
  EXPECT_THAT(answer, HasSubstr("Content-Length: 9\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\n"));
}

TEST_F(AnswerTest, APageHasTheStatusItSays) {
  status_ = 503;
  EXPECT_THAT(Ask("GET /page HTTP/1.1"), StartsWith("HTTP/1.1 503 "));
}

TEST_F(AnswerTest, OtherPathsAreNotFound) {
  for (const char* path :
       {"/", "/pag", "/pages", "/page/", "//page", "/../page", "/%00page", "*"}) {
    EXPECT_THAT(Ask(std::string("GET ") + path + " HTTP/1.1"), StartsWith("HTTP/1.1 404 ")) << path;
  }
  EXPECT_EQ(made_, 0);
}

TEST_F(AnswerTest, OtherMethodsAreRefusedWhateverTheyBring) {
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"}) {
    const std::string answer =
        Ask(std::string(method) + " /page HTTP/1.1", "Content-Length: 1000000\r\n");
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 405 ")) << method;
    EXPECT_THAT(answer, HasSubstr("Allow: GET, HEAD\r\n")) << method;
  }
  EXPECT_EQ(made_, 0);
}

// Many overlapping ranges would make an answer thousands of times as long as the page.
TEST_F(AnswerTest, HeaderFieldsChangeNothing) {
  const std::string plain = Ask("GET /page HTTP/1.1", "");
  std::string ranges = "Range: bytes=0-";
  for (int i = 0; i < 1000; ++i) ranges += ",0-";
  for (const std::string& fields :
       {ranges, std::string("Accept-Encoding: gzip, br"), std::string("Connection: keep-alive"),
        std::string("Expect: 100-continue"), std::string("Transfer-Encoding: chunked")}) {
    EXPECT_EQ(Ask("GET /page HTTP/1.1", fields + "\r\n"), plain) << fields.substr(0, 40);
  }
}

TEST_F(AnswerTest, WhatIsNoRequestIsRefusedOrLeftUnanswered) {
  const std::string cases[] = {
      "",
      "GET",
      "GET /page",
      "GET /page HTTP/9.9",
      "get /page HTTP/1.1",
      "NBDMAGIC",
      std::string(8000, 'A'),
      "GET /" + std::string(8000, '/') + " HTTP/1.1",
      "GET /%%%%%zz%u0000 HTTP/1.1",
      std::string("GET /page\0 HTTP/1.1", 19),
      "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
  };
  for (const std::string& line : cases) {
    EXPECT_THAT(Ask(line), Not(HasSubstr("the body"))) << line.substr(0, 40);
  }
  EXPECT_EQ(made_, 0);
}

}  // namespace
}  // namespace sluice::http
