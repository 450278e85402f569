#include "fio/core/internal/name_table.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "fio/base/fork_count.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio::core_internal {
namespace {

// The families that a scheme allows.
std::string_view FamiliesOf(const Url& url) {
  switch (url.scheme()) {
    case Url::Scheme::kTcp4:
    case Url::Scheme::kUdp4:
      return "4";
    case Url::Scheme::kTcp6:
    case Url::Scheme::kUdp6:
      return "6";
    default:
      return "46";
  }
}

// The same for urls that differ in nothing but the port.
std::string KeyOf(const Url& url) {
  return absl::StrCat(static_cast<int>(url.kind()), "/", FamiliesOf(url), "/",
                      absl::AsciiStrToLower(url.host()));
}

uint16_t PortOf(const Url& url) {
  return url.port().value_or(url.default_port().value_or(0));
}

SocketAddress WithPort(const SocketAddress& address, uint16_t port) {
  sockaddr_storage storage = {};
  std::memcpy(&storage, address.data(), address.size());
  if (address.family() == AF_INET) {
    reinterpret_cast<sockaddr_in*>(&storage)->sin_port = htons(port);
  } else if (address.family() == AF_INET6) {
    reinterpret_cast<sockaddr_in6*>(&storage)->sin6_port = htons(port);
  }
  return SocketAddress::FromSockaddr(reinterpret_cast<sockaddr*>(&storage),
                                     address.size())
      .value_or(address);
}

// What was answered for `asked` is the answer for `url`, too, but for the port
// and the text of errors.
NameTable::Addresses AnswerFor(const Url& url, const Url& asked,
                               const NameTable::Addresses& answer) {
  if (url == asked) return answer;
  if (!answer.ok()) {
    return absl::Status(answer.status().code(),
                        absl::StrCat("resolve ", url.ToString(), ": asked as ",
                                     answer.status().message()));
  }
  std::vector<SocketAddress> addresses = *answer;
  for (SocketAddress& address : addresses) {
    if (address.port() == PortOf(asked)) {
      address = WithPort(address, PortOf(url));
    }
  }
  return addresses;
}

absl::Status Refusal(const Url& url, std::string_view why) {
  return absl::ResourceExhaustedError(
      absl::StrCat("resolve ", url.ToString(), ": ", why));
}

}  // namespace

// The task that calls a question's `done`. Its destructor removes the question.
class NameTable::Delivery {
 public:
  Delivery(std::shared_ptr<NameTable> table, uint64_t question)
      : table_(std::move(table)), question_(question) {}
  Delivery(Delivery&&) = default;
  Delivery& operator=(Delivery&&) = delete;
  ~Delivery() {
    if (table_ != nullptr) table_->Take(question_);
  }

  void operator()() {
    const std::unique_ptr<Question> question =
        std::exchange(table_, nullptr)->Take(question_);
    if (question == nullptr) return;
    std::move(question->done)(std::move(question->answer));
  }

 private:
  std::shared_ptr<NameTable> table_;
  uint64_t question_;
};

NameTable::NameTable(Options options)
    : options_(std::move(options)), fork_count_(ForkCount()) {}

bool NameTable::is_inherited() const { return fork_count_ != ForkCount(); }

uint64_t NameTable::Insert(const Url& url, const LoopHandle& loop, Done done,
                           std::string key, Addresses answer) {
  const uint64_t id = ++last_id_;
  questions_[id].reset(new Question{.url = url,
                                    .loop = loop,
                                    .done = std::move(done),
                                    .key = std::move(key),
                                    .answer = std::move(answer)});
  return id;
}

std::unique_ptr<NameTable::Question> NameTable::Take(uint64_t question) {
  if (is_inherited()) return nullptr;
  const std::lock_guard lock(mutex_);
  return TakeLocked(question);
}

std::unique_ptr<NameTable::Question> NameTable::TakeLocked(uint64_t question) {
  const auto found = questions_.find(question);
  if (found == questions_.end()) return nullptr;
  std::unique_ptr<Question> taken = std::move(found->second);
  questions_.erase(found);
  return taken;
}

void NameTable::Deliver(uint64_t question, const LoopHandle& loop) {
  loop.Post(Delivery(shared_from_this(), question));
}

uint64_t NameTable::AddAnswered(const Url& url, const LoopHandle& loop,
                                Done done, Addresses answer) {
  uint64_t question;
  {
    const std::lock_guard lock(mutex_);
    question = Insert(url, loop, std::move(done), "", std::move(answer));
  }
  Deliver(question, loop);
  return question;
}

NameTable::Added NameTable::Add(const Url& url, const LoopHandle& loop,
                                Done done) {
  std::string key = KeyOf(url);
  std::unique_lock lock(mutex_);
  auto found = names_.find(key);
  if (found == names_.end() && waiting_.size() >= options_.max_waiting) {
    lock.unlock();
    return {.question = AddAnswered(url, loop, std::move(done),
                                    Refusal(url, "too many names wait")),
            .needs_runner = false};
  }
  const uint64_t question = Insert(url, loop, std::move(done), key,
                                   absl::UnknownError("not answered yet"));
  bool needs_runner = false;
  if (found == names_.end()) {
    found = names_
                .emplace(key, Entry{.name = {.id = ++last_id_, .url = url},
                                    .questions = {}})
                .first;
    waiting_.push_back(std::move(key));
    needs_runner = runners_ < options_.max_runners;
    if (needs_runner) ++runners_;
  }
  found->second.questions.push_back(question);
  return {.question = question, .needs_runner = needs_runner};
}

uint64_t NameTable::Cancel(uint64_t question) {
  if (is_inherited()) return 0;
  std::unique_ptr<Question> taken;  // Dies without the lock.
  const std::lock_guard lock(mutex_);
  taken = TakeLocked(question);
  if (taken == nullptr) return 0;
  const auto found = names_.find(taken->key);
  if (found == names_.end()) return 0;
  Entry& entry = found->second;
  std::erase(entry.questions, question);
  if (!entry.questions.empty() || (entry.taken && !options_.can_stop)) return 0;
  const uint64_t to_stop = entry.taken ? entry.name.id : 0;
  if (!entry.taken) std::erase(waiting_, taken->key);
  names_.erase(found);
  return to_stop;
}

bool NameTable::Clear() {
  absl::flat_hash_map<uint64_t, std::unique_ptr<Question>> dropped;
  std::unique_lock lock(mutex_, std::defer_lock);
  if (!is_inherited()) {
    lock.lock();
  } else if (!lock.try_lock()) {
    return false;
  }
  names_.clear();
  waiting_.clear();
  dropped = std::exchange(questions_, {});
  lock.unlock();
  return true;
}

int NameTable::runners() const {
  const std::lock_guard lock(mutex_);
  return runners_;
}

std::optional<NameTable::Name> NameTable::Next() {
  const std::lock_guard lock(mutex_);
  if (waiting_.empty()) {
    --runners_;
    return std::nullopt;
  }
  Entry& entry = names_.at(waiting_.front());
  waiting_.pop_front();
  entry.taken = true;
  return entry.name;
}

void NameTable::Answer(const Name& name, const Addresses& answer) {
  std::vector<std::pair<uint64_t, LoopHandle>> answered;
  {
    const std::lock_guard lock(mutex_);
    const auto found = names_.find(KeyOf(name.url));
    // Nobody waits for it any more, or only for another try.
    if (found == names_.end() || found->second.name.id != name.id) return;
    for (const uint64_t id : found->second.questions) {
      Question& question = *questions_.at(id);
      question.answer = AnswerFor(question.url, name.url, answer);
      question.key.clear();
      answered.emplace_back(id, question.loop);
    }
    names_.erase(found);
  }
  for (const auto& [id, loop] : answered) Deliver(id, loop);
}

void NameTable::RunnerFailed(const absl::Status& why) {
  std::vector<Name> refused;
  {
    const std::lock_guard lock(mutex_);
    if (--runners_ > 0) return;  // The others get to all that waits.
    for (const std::string& key : std::exchange(waiting_, {})) {
      refused.push_back(names_.at(key).name);
    }
  }
  for (const Name& name : refused) {
    Answer(name, Refusal(name.url, why.message()));
  }
}

}  // namespace fio::core_internal
