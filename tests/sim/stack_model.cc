// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/stack_model.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"

namespace sluice::sim {
namespace {

constexpr size_t kWords = kStampBytes / sizeof(uint64_t);

uint64_t Word(uint64_t head, size_t i) { return i == 0 ? head : head * 0x9e3779b97f4a7c15 + i; }

}  // namespace

void Stamp(uint32_t value, uint64_t sector, char* bytes) {
  if (value == 0) {
    std::memset(bytes, 0, kStampBytes);
    return;
  }
  uint64_t words[kWords];
  const uint64_t head = uint64_t{value} << 32 | sector;
  for (size_t i = 0; i < kWords; ++i) words[i] = Word(head, i);
  std::memcpy(bytes, words, kStampBytes);
}

Stamped ReadStamp(uint64_t sector, const char* bytes) {
  uint64_t head = 0;
  std::memcpy(&head, bytes, sizeof(head));
  const auto value = static_cast<uint32_t>(head >> 32);
  char whole[kStampBytes];
  Stamp(value, sector, whole);
  return {std::memcmp(whole, bytes, kStampBytes) == 0, value};
}

void StackModel::Begin(const Effect& effect) {
  for (uint64_t at = effect.first; at < effect.first + effect.count; ++at) {
    sectors_[at].candidates.push_back({.value = effect.value, .begin = effect.begin});
  }
}

void StackModel::End(const Effect& effect, uint64_t now, How how) {
  for (uint64_t at = effect.first; at < effect.first + effect.count; ++at) {
    Sector& sector = sectors_[at];
    const auto it = std::find_if(
        sector.candidates.rbegin(), sector.candidates.rend(), [&](const Candidate& candidate) {
          return candidate.begin == effect.begin && candidate.value == effect.value;
        });
    SLUICE_CHECK(it != sector.candidates.rend());
    it->end = now;
    it->happened = how != How::kMaybe;
    if (how == How::kDurable) sector.stable_from = std::max(sector.stable_from, effect.begin);
  }
}

void StackModel::Flushed(uint64_t begin) {
  for (Sector& sector : sectors_) {
    for (const Candidate& candidate : sector.candidates) {
      if (!candidate.happened || candidate.end >= begin) continue;
      sector.stable_from = std::max(sector.stable_from, candidate.begin);
    }
  }
}

bool StackModel::MayRead(const Sector& sector, uint32_t value, uint64_t begin) {
  uint64_t replaced = 0;  // what ended before this had been replaced when the read began
  for (const Candidate& candidate : sector.candidates) {
    if (candidate.happened && candidate.end < begin) replaced = std::max(replaced, candidate.begin);
  }
  return std::any_of(
      sector.candidates.begin(), sector.candidates.end(), [&](const Candidate& candidate) {
        return candidate.value == value && candidate.end >= replaced && candidate.excluded >= begin;
      });
}

std::string StackModel::CheckRead(uint64_t first, const std::string& bytes, uint64_t begin,
                                  uint64_t now) {
  for (size_t i = 0; i < bytes.size() / kStampBytes; ++i) {
    const uint64_t at = first + i;
    Sector& sector = sectors_[at];
    const Stamped got = ReadStamp(at, bytes.data() + i * kStampBytes);
    if (!got.whole) return Describe(at, got, "a read gave no whole sector");
    if (!MayRead(sector, got.value, begin)) return Describe(at, got, "a read gave a wrong value");
    for (Candidate& candidate : sector.candidates) {
      const bool other = candidate.value != got.value && candidate.end < begin;
      if (other) candidate.excluded = std::min(candidate.excluded, now);
    }
  }
  return {};
}

std::string StackModel::CheckCrash(const std::string& image) const {
  for (uint64_t at = 0; at < sectors_.size(); ++at) {
    const Sector& sector = sectors_[at];
    const Stamped got = ReadStamp(at, image.data() + at * kStampBytes);
    if (!got.whole) return Describe(at, got, "a power cut left no whole sector");
    const bool allowed = std::any_of(
        sector.candidates.begin(), sector.candidates.end(), [&](const Candidate& candidate) {
          return candidate.value == got.value && candidate.end >= sector.stable_from;
        });
    if (!allowed) return Describe(at, got, "a power cut left a wrong value");
  }
  return {};
}

std::string StackModel::Describe(uint64_t at, const Stamped& got, const char* why) const {
  std::string text = std::string(why) + ": sector " + std::to_string(at) + " holds " +
                     std::to_string(got.value) + (got.whole ? "" : " (torn)") + ", stable from " +
                     std::to_string(sectors_[at].stable_from) + ";";
  for (const Candidate& candidate : sectors_[at].candidates) {
    text += " " + std::to_string(candidate.value) + "@" + std::to_string(candidate.begin) + "-" +
            (candidate.end == kNever ? "" : std::to_string(candidate.end)) +
            (candidate.happened ? "" : "?");
    if (candidate.excluded != kNever) text += "!" + std::to_string(candidate.excluded);
  }
  return text;
}

}  // namespace sluice::sim
