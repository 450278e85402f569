#include "examples/chat/hall.h"

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "fio/fio.h"

namespace chat {
namespace {

// Who asks who is there, and the answers: nothing for the clients.
constexpr int32_t kQuestions = 1;
constexpr int32_t kAnswers = 2;
constexpr absl::Duration kPatience = absl::Milliseconds(500);

}  // namespace

// One question, until all processes have answered or the time is over.
class Hall::Question : public std::enable_shared_from_this<Question> {
 public:
  Question(size_t processes, OnNames done)
      : missing_(processes), done_(std::move(done)) {}

  // False if it can't be asked.
  bool Ask(fio::PubSub& pubsub, fio::Loop& loop, const std::string& id,
           const std::string& room) {
    absl::StatusOr<fio::Subscription> answers = pubsub.SubscribeOn(
        loop, {.channel = id, .filter = kAnswers},
        [self = shared_from_this()](fio::Delivery& delivery) {
          self->Add(delivery.body());
        });
    if (!answers.ok()) return false;
    answers_ = *std::move(answers);
    loop.RunAfter(kPatience, [self = shared_from_this()] { self->End(); });
    return pubsub
        .Publish("who", absl::StrCat(id, "\n", room), {.filter = kQuestions})
        .ok();
  }

 private:
  void Add(std::string_view names) {
    for (const std::string_view name :
         absl::StrSplit(names, '\n', absl::SkipEmpty())) {
      names_.emplace_back(name);
    }
    if (--missing_ == 0) End();
  }

  void End() {
    if (done_ == nullptr) return;
    std::sort(names_.begin(), names_.end());
    answers_.Unsubscribe();
    std::exchange(done_, nullptr)(names_);
  }

  size_t missing_;
  OnNames done_;
  fio::Subscription answers_;
  std::vector<std::string> names_;
};

Hall::Hall(fio::Reactor& reactor, fio::PubSub& pubsub, bool shared)
    : reactor_(reactor),
      pubsub_(pubsub),
      server_(absl::Uniform<uint64_t>(absl::BitGen())),
      first_guest_(shared ? server_ % 1'000'000 * 1000 : 0) {
  if (!guests_.ok()) {
    status_ = absl::ResourceExhaustedError("no memory to share");
    return;
  }
  absl::StatusOr<fio::Subscription> asked = pubsub.Subscribe(
      {.channel = "who", .filter = kQuestions},
      [this](fio::Delivery& delivery) { Answer(delivery.body()); });
  if (asked.ok()) asked_ = *std::move(asked);
  status_ = asked.status();
}

std::string Hall::NewGuest() {
  return absl::StrCat("guest-", first_guest_ + guests_.Next());
}

std::string Hall::NewId() {
  return absl::StrCat(absl::Hex(server_), "-", getpid(), "-", ++ids_);
}

void Hall::Enter(const std::string& room, const std::string& name) {
  const absl::MutexLock lock(&mutex_);
  rooms_[room].insert(name);
}

void Hall::Leave(const std::string& room, const std::string& name) {
  const absl::MutexLock lock(&mutex_);
  const auto found = rooms_.find(room);
  if (found == rooms_.end()) return;
  std::multiset<std::string>& names = found->second;
  if (const auto one = names.find(name); one != names.end()) names.erase(one);
  if (names.empty()) rooms_.erase(found);
}

std::vector<std::string> Hall::NamesIn(const std::string& room) const {
  const absl::MutexLock lock(&mutex_);
  const auto found = rooms_.find(room);
  if (found == rooms_.end()) return {};
  return {found->second.begin(), found->second.end()};
}

void Hall::AskWho(fio::Loop& loop, const std::string& room, OnNames done) {
  const auto processes = static_cast<size_t>(reactor_.concurrency().workers);
  const auto question = std::make_shared<Question>(processes, std::move(done));
  const std::string id = absl::StrCat(getpid(), "-", ++questions_);
  question->Ask(pubsub_, loop, id, room);
}

// The root of several processes has no clients.
void Hall::Answer(std::string_view question) {
  if (!reactor_.is_worker()) return;
  const std::pair<std::string, std::string> parts =
      absl::StrSplit(question, absl::MaxSplits('\n', 1));
  pubsub_
      .Publish(parts.first, absl::StrJoin(NamesIn(parts.second), "\n"),
               {.filter = kAnswers})
      .IgnoreError();
}

}  // namespace chat
