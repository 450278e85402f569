#include "examples/chat/outside.h"

#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "fio/fio.h"

namespace chat {
namespace {

void Print(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

// Options that tell when the server `name` goes and comes. It says nothing of
// the first connection, at the start.
template <typename Options, typename Gap>
Options Telling(std::string_view name) {
  Options options;
  const auto is_lost = std::make_shared<bool>(false);
  options.on_lost = [name, is_lost](const absl::Status& why) {
    *is_lost = true;
    Print(absl::StrCat(name, " is lost: ", why.message()));
  };
  options.on_connected = [name, is_lost](const Gap& gap) {
    if (!std::exchange(*is_lost, false)) return;
    Print(absl::StrCat(
        name, " is back after ",
        absl::FormatDuration(absl::Trunc(gap.span, absl::Milliseconds(1))),
        "; lost: all that others said, ", gap.dropped,
        " lines of ours, and perhaps ", gap.unsure, " more"));
  };
  return options;
}

template <typename EngineOr>
absl::StatusOr<std::unique_ptr<fio::Engine>> Use(fio::PubSub& pubsub,
                                                 EngineOr engine) {
  if (!engine.ok()) return engine.status();
  absl::Status status = pubsub.broker().Attach(**engine);
  if (status.ok()) status = pubsub.broker().SetDefault(**engine);
  if (!status.ok()) return status;
  return *std::move(engine);
}

}  // namespace

absl::StatusOr<std::unique_ptr<fio::Engine>> UseRedis(fio::Reactor& reactor,
                                                      fio::PubSub& pubsub,
                                                      const std::string& url) {
  return Use(pubsub, fio::RedisEngine::Create(
                         reactor, pubsub.broker(), url,
                         Telling<fio::RedisOptions, fio::RedisGap>("redis")));
}

absl::StatusOr<std::unique_ptr<fio::Engine>> UseNats(fio::Reactor& reactor,
                                                     fio::PubSub& pubsub,
                                                     const std::string& url) {
  return Use(pubsub, fio::NatsEngine::Create(
                         reactor, pubsub.broker(), url,
                         Telling<fio::NatsOptions, fio::NatsGap>("nats")));
}

}  // namespace chat
