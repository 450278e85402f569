// What makes one broker of those of a root and its workers: a pair of sockets
// for each worker, made before it is forked.
//
//   worker: Publish() --> RootLink ==> root: WorkerLink --> who listens there
//                                                       --> other WorkerLinks
//
// A worker that loses the root stops, and the root replaces it. A worker that
// takes nothing for 30 s is killed, and replaced.
//
// Thread safety: none; the thread of the reactor's Run().

#ifndef FIO_CORE_PUBSUB_INTERNAL_CLUSTER_H_
#define FIO_CORE_PUBSUB_INTERNAL_CLUSTER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "fio/core/process/lifecycle.h"
#include "fio/core/process/worker_event.h"
#include "fio/core/pubsub/internal/root_link.h"
#include "fio/core/pubsub/internal/worker_link.h"
#include "fio/core/pubsub/pub_sub_options.h"
#include "fio/core/reactor.h"
#include "fio/pubsub/internal/broker_core.h"
#include "fio/pubsub/lane.h"

namespace fio::pubsub_internal {

class Cluster {
 public:
  // Both outlive it. `wake` makes the Wake of the main lane in a process that
  // was just forked. `number` tells several of one reactor apart.
  using MakeWake = std::function<Lane::Wake()>;
  Cluster(Reactor& reactor, BrokerCore& core, const ClusterOptions& options,
          uint64_t number, MakeWake make_wake);
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;
  ~Cluster();

  // Of the root.
  ClusterStats stats() const;

 private:
  void On(LifecycleEvent event, void (Cluster::*method)(WorkerEvent&));
  void Begin(WorkerEvent& worker);
  void MakePair(WorkerEvent& worker);
  void EnterRoot(WorkerEvent& worker);
  void EnterChild(WorkerEvent& worker);
  void Start(WorkerEvent& worker);
  void Finish(WorkerEvent& worker);
  void Lost(uint64_t link, const absl::Status& why);
  void Forget(uint64_t link);
  void Stalled(uint64_t link);
  void Dropped();
  void LostRoot(const absl::Status& why);

  Reactor& reactor_;
  BrokerCore& core_;
  const ClusterOptions options_;
  const std::string name_;  // Of the descriptors.
  const MakeWake make_wake_;
  std::vector<Lifecycle::CallbackId> callbacks_;

  // In the root.
  absl::flat_hash_map<uint64_t, std::unique_ptr<WorkerLink>> workers_;
  uint64_t last_link_ = 0;
  uint64_t dropped_before_ = 0;  // By links that have gone.
  // In a worker.
  std::unique_ptr<RootLink> root_;  // Has ended after Finish().
};

}  // namespace fio::pubsub_internal

#endif  // FIO_CORE_PUBSUB_INTERNAL_CLUSTER_H_
