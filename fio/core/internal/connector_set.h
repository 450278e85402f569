// A ConnectorSet owns the connectors of one loop, by their ids.
//
// Thread safety: none. Use it on the thread of the loop. The loop and the
// resolver must outlive it.

#ifndef FIO_CORE_INTERNAL_CONNECTOR_SET_H_
#define FIO_CORE_INTERNAL_CONNECTOR_SET_H_

#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "fio/core/connector.h"
#include "fio/core/loop/loop.h"
#include "fio/core/resolver.h"

namespace fio {

enum class ConnectorId : uint64_t;  // See reactor.h.

namespace core_internal {

class ConnectorSet {
 public:
  ConnectorSet(Loop& loop, Resolver& resolver)
      : loop_(loop), resolver_(resolver) {}
  ConnectorSet(const ConnectorSet&) = delete;
  ConnectorSet& operator=(const ConnectorSet&) = delete;
  // As Drop(). In a forked child no on_finish is called.
  ~ConnectorSet() { Drop(); }

  // Starts a connector. It is destroyed in a task of the loop when it has
  // finished. Errors: those of Connector::Create(); on_finish has then been
  // called.
  absl::Status Start(ConnectorId id, std::string_view url,
                     ConnectorOptions options);

  // Connector::Cancel(). False if no connector has this id, or it has finished.
  bool Cancel(ConnectorId id);

  // Cancels all.
  void Drop();

 private:
  Loop& loop_;
  Resolver& resolver_;
  absl::flat_hash_map<ConnectorId, std::unique_ptr<Connector>> connectors_;
};

}  // namespace core_internal
}  // namespace fio

#endif  // FIO_CORE_INTERNAL_CONNECTOR_SET_H_
