#include "fio/core/pubsub/internal/replay_frames.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio::pubsub_internal {
namespace {

// Both processes have the same memory layout: one is a copy of the other.
template <size_t kCount>
std::string Encode(const std::array<uint64_t, kCount>& numbers) {
  std::string bytes(sizeof(numbers), '\0');
  std::memcpy(bytes.data(), numbers.data(), bytes.size());
  return bytes;
}

template <size_t kCount>
bool Decode(std::string_view bytes, std::array<uint64_t, kCount>& numbers) {
  if (bytes.size() != sizeof(numbers)) return false;
  std::memcpy(numbers.data(), bytes.data(), bytes.size());
  return true;
}

constexpr uint64_t kForEver = UINT64_MAX;

}  // namespace

std::string EncodeReplayFrom(const ReplayFrom& from) {
  const bool for_ever = from.age == absl::InfiniteDuration();
  return Encode<5>(
      {from.after_sequence.has_value() ? uint64_t{1} : 0,
       from.after_sequence.value_or(0),
       for_ever ? kForEver
                : static_cast<uint64_t>(absl::ToInt64Nanoseconds(from.age)),
       from.last, from.epoch});
}

std::optional<ReplayFrom> DecodeReplayFrom(std::string_view bytes) {
  std::array<uint64_t, 5> numbers;
  if (!Decode(bytes, numbers)) return std::nullopt;
  ReplayFrom from;
  if (numbers[0] != 0) from.after_sequence = numbers[1];
  if (numbers[2] != kForEver) {
    from.age = absl::Nanoseconds(static_cast<int64_t>(numbers[2]));
  }
  from.last = numbers[3];
  from.epoch = numbers[4];
  return from;
}

std::string EncodeReplayEnd(const ReplayEnd& end) {
  return Encode<4>(
      {end.last_sequence, end.lost, end.begun_anew ? 1u : 0u, end.epoch});
}

std::optional<ReplayEnd> DecodeReplayEnd(std::string_view bytes) {
  std::array<uint64_t, 4> numbers;
  if (!Decode(bytes, numbers)) return std::nullopt;
  return ReplayEnd{.last_sequence = numbers[0],
                   .lost = numbers[1],
                   .begun_anew = numbers[2] != 0,
                   .epoch = numbers[3]};
}

}  // namespace fio::pubsub_internal
