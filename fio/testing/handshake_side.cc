#include "fio/testing/handshake_side.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "absl/log/absl_check.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "fio/testing/internal/random.h"

namespace fio::testing {
namespace {

// Type, then the size of the payload, the highest byte first.
constexpr size_t kHeaderBytes = 5;
constexpr size_t kMaxPayload = size_t{1} << 24;

constexpr uint8_t kClientKey = 17;
constexpr uint8_t kServerKey = 230;

}  // namespace

HandshakeScript HandshakeScript::FromSeed(uint64_t seed) {
  testing_internal::Random random(seed);
  HandshakeScript script;
  script.rounds = static_cast<int>(random.Below(4));
  script.round_bytes = size_t{1} << random.Below(12);
  script.record_bytes = 1 + (size_t{1} << random.Below(14));
  script.ask_every = static_cast<int>(random.Below(4));
  return script;
}

HandshakeSide::HandshakeSide(Role role, const HandshakeScript& script)
    : role_(role),
      script_(script),
      send_key_(role == Role::kClient ? kClientKey : kServerKey),
      receive_key_(role == Role::kClient ? kServerKey : kClientKey) {
  ABSL_CHECK(script.record_bytes > 0 && script.record_bytes <= kMaxPayload);
  if (script.rounds == 0) {
    state_ = State::kOpen;
  } else if (role == Role::kClient) {
    SendRound();
  }
}

// --- Records ---

void HandshakeSide::Key::Apply(std::string& bytes, size_t from) {
  uint8_t key = next_;
  char* const end = bytes.data() + bytes.size();
  for (char* byte = bytes.data() + from; byte != end; ++byte) {
    key = static_cast<uint8_t>(key * 5 + 131);
    *byte = static_cast<char>(*byte ^ key);
  }
  next_ = key;
}

void HandshakeSide::Append(Type type, std::string_view payload) {
  std::string record(1, static_cast<char>(type));
  for (int shift = 24; shift >= 0; shift -= 8) {
    record += static_cast<char>(payload.size() >> shift);
  }
  record += payload;
  send_key_.Apply(record, 0);
  output_ += record;
}

void HandshakeSide::Receive(std::string_view wire) {
  if (state_ == State::kFailed) return;
  const size_t had = wire_.size();
  wire_ += wire;
  receive_key_.Apply(wire_, had);
  ReceiveRecords();
}

void HandshakeSide::ReceiveRecords() {
  size_t used = 0;
  std::string wire = std::move(wire_);
  wire_.clear();
  while (state_ == State::kShaking || state_ == State::kOpen) {
    const std::string_view left = std::string_view(wire).substr(used);
    if (left.empty()) break;
    if (static_cast<Type>(left[0]) > Type::kFarewell || ended_) {
      Fail(absl::DataLossError("not what the other side has sent"));
      return;
    }
    if (left.size() < kHeaderBytes) break;
    size_t size = 0;
    for (size_t i = 1; i < kHeaderBytes; ++i) {
      size = size << 8 | static_cast<uint8_t>(left[i]);
    }
    if (size > kMaxPayload) {
      Fail(absl::DataLossError("not what the other side has sent"));
      return;
    }
    if (left.size() < kHeaderBytes + size) break;
    used += kHeaderBytes + size;
    OnRecord(static_cast<Type>(left[0]), left.substr(kHeaderBytes, size));
  }
  wire_ = wire.substr(used);
}

void HandshakeSide::OnRecord(Type type, std::string_view payload) {
  const bool may_come = type == Type::kAlert ||
                        (type == Type::kRound) == (state_ == State::kShaking);
  if (!may_come) {
    Fail(absl::DataLossError("a record at the wrong time"));
    return;
  }
  switch (type) {
    case Type::kRound:
      OnRound(payload);
      break;
    case Type::kAsk:
      received_ += payload;
      Append(Type::kAnswer, "");
      break;
    case Type::kBytes:
      received_ += payload;
      break;
    case Type::kAnswer:
      ++answers_;
      break;
    case Type::kAlert:
      Fail(absl::AbortedError(absl::StrCat("alert: ", payload)));
      break;
    case Type::kFarewell:
      ended_ = true;
      break;
  }
}

void HandshakeSide::Fail(const absl::Status& status) {
  state_ = State::kFailed;
  status_ = status;
  wire_.clear();
}

// --- The handshake ---

void HandshakeSide::SendRound() {
  Append(Type::kRound, std::string(script_.round_bytes, 'r'));
}

void HandshakeSide::OnRound(std::string_view /*payload*/) {
  if (round_ == script_.fail_in_round) {
    Append(Type::kAlert, script_.failure.message());
    Fail(script_.failure);
  } else if (round_ == script_.suspend_in_round) {
    state_ = State::kSuspended;
  } else {
    AnswerRound();
  }
}

void HandshakeSide::AnswerRound() {
  const bool is_last = round_++ == script_.rounds;
  state_ = is_last ? State::kOpen : State::kShaking;
  if (!is_last || role_ == Role::kServer) SendRound();
}

void HandshakeSide::Resume() {
  if (state_ != State::kSuspended) return;
  AnswerRound();
  ReceiveRecords();
}

// --- Bytes of the application ---

void HandshakeSide::Send(std::string_view bytes) {
  ABSL_CHECK(state_ == State::kOpen) << "HandshakeSide::Send: not open";
  while (!bytes.empty()) {
    const bool asks =
        script_.ask_every > 0 && ++records_ % script_.ask_every == 0;
    Append(asks ? Type::kAsk : Type::kBytes,
           bytes.substr(0, script_.record_bytes));
    bytes.remove_prefix(std::min(bytes.size(), script_.record_bytes));
  }
}

void HandshakeSide::SayFarewell() {
  ABSL_CHECK(state_ == State::kOpen) << "HandshakeSide::SayFarewell: not open";
  Append(Type::kFarewell, "");
}

void HandshakeSide::Sent(size_t bytes) {
  sent_ += bytes;
  if (sent_ < output_.size()) return;
  output_.clear();
  sent_ = 0;
}

std::string HandshakeSide::TakeOutput() {
  std::string output(this->output());
  Sent(output.size());
  return output;
}

void HandshakeSide::Take(size_t bytes) {
  taken_ += bytes;
  if (taken_ < received_.size()) return;
  received_.clear();
  taken_ = 0;
}

std::string HandshakeSide::TakeReceived() {
  std::string received(this->received());
  Take(received.size());
  return received;
}

}  // namespace fio::testing
