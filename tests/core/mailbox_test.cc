// SPDX-License-Identifier: Apache-2.0
#include "core/mailbox.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace sluice {
namespace {

using Letters = std::vector<std::pair<Mail, Bio*>>;

Letters Drained(Mailbox& mailbox) {
  Letters letters;
  mailbox.Drain([&](Mail mail, Bio& bio) { letters.emplace_back(mail, &bio); });
  return letters;
}

TEST(Mailbox, ShowsNothingBeforeItIsPublishedAndEverythingThen) {
  Mailbox mailbox(8);
  Bio bios[2];
  EXPECT_FALSE(mailbox.Publish());
  mailbox.Push(Mail::kSubmit, bios[0]);
  mailbox.Push(Mail::kExpire, bios[1]);
  EXPECT_TRUE(mailbox.Empty());
  EXPECT_TRUE(Drained(mailbox).empty());
  EXPECT_TRUE(mailbox.Publish());
  EXPECT_FALSE(mailbox.Publish());
  EXPECT_FALSE(mailbox.Empty());
  EXPECT_EQ(Drained(mailbox), (Letters{{Mail::kSubmit, &bios[0]}, {Mail::kExpire, &bios[1]}}));
  EXPECT_TRUE(mailbox.Empty());
}

TEST(Mailbox, CarriesEveryKindOfMailAroundItsEnd) {
  Mailbox mailbox(5);  // rounded up to 8
  Bio bio;
  for (int round = 0; round < 100; ++round) {
    Letters sent;
    for (int i = 0; i < 1 + round % 8; ++i) {
      sent.emplace_back(static_cast<Mail>((round + i) % 5), &bio);
      mailbox.Push(sent.back().first, bio);
    }
    mailbox.Publish();
    ASSERT_EQ(Drained(mailbox), sent);
  }
}

TEST(Mailbox, MailPushedWhileItIsDrainedWaitsForTheNextTime) {
  Mailbox mailbox(2);
  Bio bio;
  mailbox.Push(Mail::kSubmit, bio);
  mailbox.Publish();
  const size_t count = mailbox.Drain([&](Mail, Bio& got) {
    mailbox.Push(Mail::kExpire, got);
    mailbox.Publish();
  });
  EXPECT_EQ(count, 1u);
  EXPECT_EQ(Drained(mailbox), (Letters{{Mail::kExpire, &bio}}));
}

TEST(MailboxDeathTest, AFullOneIsABrokenReservation) {
  Mailbox mailbox(2);
  Bio bio;
  mailbox.Push(Mail::kSubmit, bio);
  mailbox.Push(Mail::kSubmit, bio);
  EXPECT_DEATH(mailbox.Push(Mail::kSubmit, bio), "check failed");
}

// The bio's own fields are plain: the mailbox alone orders the two threads' accesses to them.
TEST(Mailbox, KeepsOrderBetweenTwoThreadsAndPassesTheBioOn) {
  constexpr uint64_t kCount = 300'000;
  constexpr size_t kBios = 64;
  Mailbox there(kBios);
  Mailbox back(kBios);
  auto bios = std::make_unique<Bio[]>(kBios);
  std::thread consumer([&] {
    for (uint64_t expected = 0; expected < kCount;) {
      there.Drain([&](Mail mail, Bio& bio) {
        EXPECT_EQ(mail, Mail::kSubmit);
        EXPECT_EQ(bio.offset, expected);
        ++expected;
        bio.resid = static_cast<uint32_t>(bio.offset * 3);
        back.Push(Mail::kComplete, bio);
      });
      if (!back.Publish()) std::this_thread::yield();
    }
  });
  uint64_t sent = 0;
  uint64_t received = 0;
  while (received < kCount) {
    while (sent < kCount && sent - received < kBios) {
      Bio& bio = bios[sent % kBios];
      bio.offset = sent++;
      there.Push(Mail::kSubmit, bio);
      if (sent % 7 == 0) there.Publish();
    }
    there.Publish();
    const size_t count = back.Drain([&](Mail mail, Bio& bio) {
      EXPECT_EQ(mail, Mail::kComplete);
      EXPECT_EQ(bio.offset, received);
      EXPECT_EQ(bio.resid, static_cast<uint32_t>(received * 3));
      ++received;
    });
    if (count == 0) std::this_thread::yield();
  }
  consumer.join();
}

}  // namespace
}  // namespace sluice
