#include "fio/core/loop/internal/overload_guard.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/log/absl_log.h"
#include "absl/time/time.h"
#include "fio/core/loop/connection.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/connections.h"
#include "fio/core/loop/loop_options.h"

namespace fio::loop_internal {
namespace {

constexpr absl::Duration kPause = absl::Milliseconds(10);
constexpr int kLooksInVain = 100;

}  // namespace

OverloadGuard::OverloadGuard(Connections& connections)
    : connections_(connections),
      overload_(connections.options().memory_limit_bytes,
                *connections.options().process_memory) {}

bool OverloadGuard::HoldBack(const Connection& connection) {
  if (held_back_.empty()) {
    connections_.counters().overloads.Add(1);
    ABSL_LOG_EVERY_N_SEC(WARNING, 1)
        << "connections of a loop have " << overload_.used()
        << " bytes queued and unread: reading stops";
    LookAgainSoon();
  }
  if (is_held_back_.insert(connection.id()).second) {
    held_back_.push_back(connection.id());
  }
  return true;
}

void OverloadGuard::Tell() {
  overload_.Tell();
  connections_.counters().memory_bytes.Set(overload_.used());
}

void OverloadGuard::Check() {
  Tell();
  if (const uint64_t bytes = overload_.ToShed()) Shed(bytes);
  if (held_back_.empty() || !overload_.IsRelieved()) return;
  is_held_back_.clear();
  for (const ConnectionId id : std::exchange(held_back_, {})) {
    if (Connection* const connection = connections_.Find(id)) {
      connection->ReadOn();
    }
  }
}

// What other loops give back wakes nobody here.
void OverloadGuard::LookAgainSoon() {
  if (std::exchange(looks_again_, true)) return;
  connections_.RunAfter(kPause, [this] {
    looks_again_ = false;
    Check();
    ShedIfStuck();
    if (!held_back_.empty()) LookAgainSoon();
  });
}

// What is unread, nobody but its protocol takes away: if that waits for more,
// which nobody reads, nothing goes any more.
void OverloadGuard::ShedIfStuck() {
  const bool falls = overload_.used() < least_used_;
  if (held_back_.empty() || falls || least_used_ == 0) {
    least_used_ = held_back_.empty() ? 0 : overload_.used();
    looks_in_vain_ = 0;
  } else if (++looks_in_vain_ == kLooksInVain) {
    looks_in_vain_ = 0;
    Shed(overload_.ToRelieve());
  }
}

// Aborts those that have the most, until so much has gone.
void OverloadGuard::Shed(uint64_t bytes) {
  std::vector<std::pair<uint64_t, ConnectionId>> largest;
  connections_.ForEach([&largest](Connection& connection) {
    const uint64_t memory = connection.memory_bytes();
    if (memory > 0) largest.emplace_back(memory, connection.id());
  });
  std::sort(largest.rbegin(), largest.rend());
  for (const auto& [memory, id] : largest) {
    Connection& connection = *connections_.FindUnburied(id);
    // One that has written too much is dead already.
    if (connections_.Find(id) != nullptr) {
      ABSL_LOG_EVERY_N_SEC(WARNING, 1)
          << id << ": aborted with " << memory
          << " bytes queued and unread, since all have too many";
      connections_.counters().shed.Add(1);
      connection.AbortFor(ENOBUFS);
    }
    if (memory >= bytes) return;
    bytes -= memory;
  }
}

}  // namespace fio::loop_internal
