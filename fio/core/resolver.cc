#include "fio/core/resolver.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "fio/core/internal/ask_processes.h"
#include "fio/core/internal/ask_threads.h"
#include "fio/core/internal/hosts_file.h"
#include "fio/core/internal/name_table.h"
#include "fio/core/loop/loop.h"
#include "fio/core/loop/loop_handle.h"
#include "fio/sock/resolve.h"
#include "fio/sock/socket_address.h"
#include "fio/sock/url.h"

namespace fio {
namespace {

using core_internal::AskProcesses;
using core_internal::NameTable;

// Whether fio::Resolve() asks nobody, as for "127.1" and localhost.
bool IsLiteral(const Url& url) {
  in_addr ipv4;
  const bool has_port =
      url.port().has_value() || url.default_port().has_value();
  return url.kind() == Url::Kind::kUnix || !has_port || url.host().empty() ||
         url.is_localhost() || SocketAddress::FromIp(url.host(), 0).ok() ||
         inet_aton(url.host().c_str(), &ipv4) != 0;
}

// The answer, if it needs no look-up.
std::optional<Resolver::Addresses> AnswerHere(const Url& url) {
  if (IsLiteral(url)) return fio::Resolve(url);
  std::vector<SocketAddress> known = core_internal::FindKnownHost(url);
  if (known.empty()) return std::nullopt;
  return known;
}

}  // namespace

Resolver::Resolver(Loop* loop, Function ask)
    : names_(std::make_shared<NameTable>(
          NameTable::Options{.ask = std::move(ask),
                             .max_runners = kAtATime,
                             .max_waiting = kWaiting,
                             .can_stop = loop != nullptr})),
      processes_(loop == nullptr
                     ? nullptr
                     : std::make_shared<AskProcesses>(*loop, names_)) {}

Resolver::Resolver(Function ask) : Resolver(nullptr, std::move(ask)) {}

std::unique_ptr<Resolver> Resolver::InProcesses(Loop& loop, Function ask) {
  return std::unique_ptr<Resolver>(new Resolver(&loop, std::move(ask)));
}

Resolver::~Resolver() {
  const bool cleared = names_->Clear();
  // What another thread was changing at the time of the fork stays as it is.
  if (!cleared) new std::shared_ptr<NameTable>(names_);
}

void Resolver::CancelAll() {
  names_->Clear();
  if (processes_ != nullptr) processes_->StopAll();
}

void Resolver::Cancel(QuestionId question) {
  const uint64_t to_stop = names_->Cancel(static_cast<uint64_t>(question));
  if (to_stop != 0 && processes_ != nullptr) processes_->Stop(to_stop);
}

int Resolver::asking() const { return names_->runners(); }

Resolver::QuestionId Resolver::Resolve(const Url& url, const LoopHandle& loop,
                                       Done done) {
  std::optional<Addresses> answer = AnswerHere(url);
  if (answer.has_value()) {
    return static_cast<QuestionId>(
        names_->AddAnswered(url, loop, std::move(done), *std::move(answer)));
  }
  const NameTable::Added added = names_->Add(url, loop, std::move(done));
  if (added.needs_runner && processes_ != nullptr) {
    processes_->RunLater();
  } else if (added.needs_runner) {
    const absl::Status started = core_internal::StartAskThread(names_);
    if (!started.ok()) names_->RunnerFailed(started);
  }
  return static_cast<QuestionId>(added.question);
}

}  // namespace fio
