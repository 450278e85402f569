// A RecordingEngine is an Engine without an outside: it keeps what it is told,
// and the test says what arrives.
//
//   RecordingEngine engine(broker);
//   broker.Attach(engine);
//   broker.main_lane().Run();
//   EXPECT_TRUE(engine.IsSubscribed("news", Match::kExact));
//   engine.Receive("news", "from outside");
//
// As a server that sends everybody everything would, it has what is published
// through it come back; see RecordingOptions.
//
// Thread safety: none. It belongs to the thread of the broker's main lane.

#ifndef FIO_TESTING_RECORDING_ENGINE_H_
#define FIO_TESTING_RECORDING_ENGINE_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fio/pubsub/broker.h"
#include "fio/pubsub/engine.h"
#include "fio/pubsub/message.h"
#include "fio/pubsub/subscribe_options.h"

namespace fio::testing {

struct RecordingOptions {
  // Engine::local_echo(). Then nothing comes back from outside.
  bool local_echo = false;
  // Without local_echo: whether what is published comes back.
  bool comes_back = true;
};

class RecordingEngine : public Engine {
 public:
  // The broker exists when something arrives or is published.
  explicit RecordingEngine(Broker& broker, RecordingOptions options = {})
      : broker_(broker), options_(options) {}

  // Something was published outside: it reaches the broker if that has a
  // subscription that matches, and once if there are several. Virtual, so that
  // a test can have its outside do something else.
  virtual void Receive(std::string_view channel, std::string_view body);

  bool is_attached() const { return attached_; }
  // What the broker has subscribed to. Empty while it is not attached.
  bool IsSubscribed(std::string_view channel, Match match) const;
  size_t subscriptions() const { return topics_.size(); }

  // What was published through it, in order. The caller may clear it.
  std::vector<Message>& published() { return published_; }

  // For the broker.
  void OnAttach() override;
  void OnDetach() override;
  void Subscribe(std::string_view channel, Match match) override;
  void Unsubscribe(std::string_view channel, Match match) override;
  void Publish(const Message& message) override;
  bool local_echo() const override { return options_.local_echo; }
  std::string_view name() const override { return "recording"; }

 private:
  using Topic = std::pair<std::string, Match>;

  Broker& broker_;
  const RecordingOptions options_;
  bool attached_ = false;
  std::vector<Topic> topics_;
  std::vector<Message> published_;
};

}  // namespace fio::testing

#endif  // FIO_TESTING_RECORDING_ENGINE_H_
