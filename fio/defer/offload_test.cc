#include "fio/defer/offload.h"

#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fio/defer/task.h"
#include "fio/defer/task_queue.h"
#include "fio/defer/thread_pool.h"
#include "fio/testing/allocation_counter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace fio {
namespace {

using ::testing::ElementsAre;

class OffloadTest : public ::testing::Test {
 protected:
  // Runs the queue's next task, as soon as there is one.
  void RunNext() {
    while (!queue_.RunOne()) std::this_thread::yield();
  }

  // Keeps the pool's only thread from anything else until the result dies.
  std::unique_ptr<std::latch, void (*)(std::latch*)> Block() {
    auto* release = new std::latch(1);
    std::latch started(1);
    pool_->Post([release, &started] {
      started.count_down();
      release->wait();
      delete release;
    });
    started.wait();
    return {release, [](std::latch* latch) { latch->count_down(); }};
  }

  TaskQueue queue_;
  std::unique_ptr<ThreadPool> pool_ =
      *ThreadPool::Create({.threads = 1, .name = "one", .capacity = 1});
};

TEST_F(OffloadTest, WorksThereAndRepliesHere) {
  std::thread::id worked;
  std::thread::id replied;
  Offload(
      *pool_, queue_,
      [&worked, text = std::make_unique<std::string>("42")] {
        worked = std::this_thread::get_id();
        return std::stoi(*text);
      },
      [&](absl::StatusOr<int> result) {
        replied = std::this_thread::get_id();
        EXPECT_EQ(*result, 42);
      });
  RunNext();
  EXPECT_NE(worked, std::thread::id());
  EXPECT_NE(worked, replied);
  EXPECT_EQ(replied, std::this_thread::get_id());
}

TEST_F(OffloadTest, PassesOnMoveOnlyVoidAndStatus) {
  std::vector<std::string> seen;
  Offload(
      *pool_, queue_, [] { return std::make_unique<int>(1); },
      [&](absl::StatusOr<std::unique_ptr<int>> result) {
        seen.push_back(std::to_string(**result));
      });
  RunNext();
  Offload(
      *pool_, queue_, [] {},
      [&](const absl::Status& result) { seen.push_back(result.ToString()); });
  RunNext();
  Offload(
      *pool_, queue_, [] { return absl::NotFoundError("no"); },
      [&](const absl::Status& result) { seen.push_back(result.ToString()); });
  RunNext();
  Offload(
      *pool_, queue_,
      []() -> absl::StatusOr<int> { return absl::DataLossError("lost"); },
      [&](const absl::StatusOr<int>& result) {
        seen.push_back(result.status().ToString());
      });
  RunNext();
  EXPECT_THAT(seen, ElementsAre("1", "OK", "NOT_FOUND: no", "DATA_LOSS: lost"));
}

TEST_F(OffloadTest, TellsThatThePoolIsFull) {
  const auto blocked = Block();
  ASSERT_TRUE(pool_->Post([] {}));
  absl::Status seen;
  Offload(
      *pool_, queue_, [] { return 1; },
      [&](const absl::StatusOr<int>& result) { seen = result.status(); });
  EXPECT_TRUE(seen.ok());  // Not inside Offload().
  EXPECT_TRUE(queue_.RunOne());
  EXPECT_EQ(seen, absl::ResourceExhaustedError(
                      "Offload: the queue of pool 'one' is full "
                      "(ThreadPoolOptions::capacity is 1)"));
}

// A handle, as a LoopHandle. Copies refer to the same queue.
class Handle {
 public:
  explicit Handle(std::shared_ptr<TaskQueue> queue)
      : queue_(std::move(queue)) {}
  bool Post(Task task) const { return queue_->Post(std::move(task)); }

 private:
  std::shared_ptr<TaskQueue> queue_;
};

TEST_F(OffloadTest, AHandleNeedNotOutliveTheWork) {
  const auto queue = std::make_shared<TaskQueue>();
  int sum = 0;
  const auto add = [&sum](const absl::StatusOr<int>& n) { sum += *n; };
  {
    auto blocked = Block();
    const auto handle = std::make_unique<Handle>(queue);
    Offload(
        *pool_, *handle, [] { return 1; }, add);
  }
  while (!queue->RunOne()) std::this_thread::yield();
  Offload(
      *pool_, Handle(queue), [] { return 2; }, add);
  while (!queue->RunOne()) std::this_thread::yield();
  EXPECT_EQ(sum, 3);
}

// The last copy dies inside of its own Post().
TEST_F(OffloadTest, AHandleOfAClosedQueueDropsTheReply) {
  auto queue = std::make_shared<TaskQueue>();
  const std::weak_ptr<TaskQueue> last = queue;
  queue->Close(TaskQueue::OnClose::kDrop);
  const auto owned = std::make_shared<int>();
  Offload(
      *pool_, Handle(std::move(queue)), [] {},
      [owned](const absl::Status&) { ADD_FAILURE(); });
  pool_->Stop(ThreadPool::OnStop::kDrain);
  EXPECT_TRUE(last.expired());
  EXPECT_EQ(owned.use_count(), 1);
}

TEST_F(OffloadTest, TellsThatThePoolHasStopped) {
  pool_->Stop(ThreadPool::OnStop::kDrain);
  absl::Status seen;
  Offload(
      *pool_, queue_, [] { return 1; },
      [&](const absl::StatusOr<int>& result) { seen = result.status(); });
  EXPECT_TRUE(queue_.RunOne());
  EXPECT_EQ(seen.code(), absl::StatusCode::kCancelled);
}

TEST_F(OffloadTest, TellsThatThePoolDroppedTheWork) {
  auto blocked = Block();
  absl::Status seen;
  Offload(
      *pool_, queue_, [] { ADD_FAILURE(); },
      [&](const absl::Status& result) { seen = result; });
  std::thread stopper([&] { pool_->Stop(ThreadPool::OnStop::kDrop); });
  RunNext();  // While the pool still waits for its thread.
  EXPECT_EQ(seen.code(), absl::StatusCode::kCancelled);
  blocked.reset();
  stopper.join();
}

TEST_F(OffloadTest, DestroysDoneUncalledIfNobodyTakesTheReply) {
  const auto owned = std::make_shared<int>();
  queue_.Close(TaskQueue::OnClose::kDrop);
  Offload(
      *pool_, queue_, [] {}, [owned](const absl::Status&) { ADD_FAILURE(); });
  pool_->Stop(ThreadPool::OnStop::kDrain);
  EXPECT_EQ(owned.use_count(), 1);
}

TEST_F(OffloadTest, WorkDiesWhereItRan) {
  struct Destroyed {
    explicit Destroyed(std::thread::id* where) : where(where) {}
    ~Destroyed() { *where = std::this_thread::get_id(); }
    std::thread::id* where;
  };
  std::thread::id worked;
  std::thread::id died;
  Offload(
      *pool_, queue_,
      [&worked, object = std::make_unique<Destroyed>(&died)] {
        worked = std::this_thread::get_id();
      },
      [&](const absl::Status&) { EXPECT_EQ(died, worked); });
  RunNext();
}

TEST_F(OffloadTest, RepliesToAnotherPoolAsWell) {
  const auto other = *ThreadPool::Create({.threads = 1});
  std::latch replied(1);
  Offload(
      *pool_, *other, [] { return 1; },
      [&](const absl::StatusOr<int>&) { replied.count_down(); });
  replied.wait();
}

TEST_F(OffloadTest, CostsOneAllocation) {
  const auto offload = [&] {
    Offload(
        *pool_, queue_, [] { return 1; }, [](const absl::StatusOr<int>&) {});
  };
  for (int i = 0; i < 4; ++i) {  // Until the queues have grown.
    offload();
    RunNext();
  }
  const testing::AllocationCounter counter;
  offload();
  EXPECT_EQ(counter.allocations(), 1);
  RunNext();
}

}  // namespace
}  // namespace fio
