// Holds back and sheds the connections of a loop that have too much queued and
// unread, all together; see LoopOptions::memory_limit_bytes.
//
// Thread safety: none; all of it belongs to the thread of the loop.

#ifndef FIO_CORE_LOOP_INTERNAL_OVERLOAD_GUARD_H_
#define FIO_CORE_LOOP_INTERNAL_OVERLOAD_GUARD_H_

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "fio/core/loop/connection_id.h"
#include "fio/core/loop/internal/overload.h"

namespace fio {

class Connection;
class Connections;

namespace loop_internal {

class OverloadGuard {
 public:
  // `connections` outlives it.
  explicit OverloadGuard(Connections& connections);
  OverloadGuard(const OverloadGuard&) = delete;
  OverloadGuard& operator=(const OverloadGuard&) = delete;

  // A connection has so many bytes more.
  void Add(int64_t bytes) { overload_.Add(bytes); }
  // So far above the limit that whoever writes is aborted.
  bool IsExhausted() const { return overload_.IsExhausted(); }

  // Whether the connection must not read. If so, its ReadOn() is called when it
  // may.
  bool HoldsBack(const Connection& connection) {
    return (!held_back_.empty() || overload_.Exceeds()) && HoldBack(connection);
  }

  // At the end of each turn; the second when connections have been buried.
  void Check();
  void Tell();

 private:
  bool HoldBack(const Connection& connection);
  void LookAgainSoon();
  void ShedIfStuck();
  void Shed(uint64_t bytes);

  Connections& connections_;
  Overload overload_;
  // In the order in which they came, each once.
  std::vector<ConnectionId> held_back_;
  absl::flat_hash_set<ConnectionId> is_held_back_;
  bool looks_again_ = false;
  // While reading stands: the least that was in use, and for how many looks.
  uint64_t least_used_ = 0;
  int looks_in_vain_ = 0;
};

}  // namespace loop_internal
}  // namespace fio

#endif  // FIO_CORE_LOOP_INTERNAL_OVERLOAD_GUARD_H_
