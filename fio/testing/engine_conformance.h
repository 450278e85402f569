// What any Engine has to do, as a test. Derive from EngineUnderTest, say how
// the outside of your engine is reached, and call CheckEngine():
//
//   class HubUnderTest final : public fio::testing::EngineUnderTest { ... };
//
//   TEST(EngineConformance, Hub) {
//     HubUnderTest hub;
//     fio::testing::CheckEngine(hub);
//   }
//
// There are two sides. The near one is a broker with the engine. The far one is
// somebody else on the same hub, server or bus, best without that engine: so it
// sees what really goes over the wire.
//
// Thread safety: none; all of it is called on the thread of CheckEngine().

#ifndef FIO_TESTING_ENGINE_CONFORMANCE_H_
#define FIO_TESTING_ENGINE_CONFORMANCE_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "fio/pubsub/broker.h"
#include "fio/pubsub/engine.h"
#include "fio/pubsub/publish_options.h"

namespace fio::testing {

class EngineUnderTest {
 public:
  struct Heard {
    std::string channel;
    std::string body;

    friend bool operator==(const Heard&, const Heard&) = default;
  };

  virtual ~EngineUnderTest() = default;

  // --- The near side ---

  virtual Broker& broker() = 0;

  // Attached or not: the test attaches it, and it is attached afterwards. Null:
  // there is none, and what is said of attaching is not tested.
  virtual Engine* engine() = 0;

  // How the near side publishes.
  virtual PublishOptions options() { return {.engine = engine()}; }

  // Whether a subscriber of the near side gets what the near side publishes: of
  // an engine without Engine::local_echo(), when the outside sends it back.
  virtual bool hears_itself() { return true; }

  // Runs `task` on the thread of the broker's main lane, and returns after it.
  virtual void Do(absl::FunctionRef<void()> task) = 0;

  // Runs what the near side has to do on this thread. Called again and again
  // while the test waits. False if all is done on this thread, so that there is
  // nothing to wait for.
  virtual bool Turn() { return true; }

  // Inside of Do(): whether the outside knows all that was subscribed to when
  // the engine was attached. Asked until it is true, after each time.
  virtual bool IsConnected() { return true; }

  // --- The far side ---

  // When it returns, the far side hears what is published to `channel`.
  virtual void Listen(std::string_view channel) = 0;
  // When it returns, the outside has the message: who subscribes later does not
  // get it.
  virtual void Publish(std::string_view channel, std::string_view body) = 0;
  // What it has heard since the last call, in order. Does not wait for more.
  virtual std::vector<Heard> TakeHeard() = 0;
};

// Tests, and names the rule that is broken in the failure of the test:
//
//   attach           Who has subscribed before gets what the far side
//   publishes. last leaves      With the last subscriber of a channel or
//   pattern, and no
//                    sooner, what is published there stops to come.
//   once             The far side gets each message once, and each subscription
//                    of the near side as well, by name and by patterns.
//   order            Messages of one publisher to one channel keep their order.
//   bytes            Names and bodies may have any bytes, and none.
//   echo             The near side hears itself once, or not at all, as
//                    hears_itself() says.
//   many             1,000 channels at once.
//   inside           Callbacks of subscribers publish, subscribe and end.
//   detach           What comes after Detach() reaches nobody, and what was
//                    subscribed to is heard again after Attach().
//
// It stops at the first rule that is broken. Nothing has arrived in time if it
// takes some ten seconds: longer on a machine that is busy. Channels whose
// names begin with "kit" or "settle" belong to it; some are kept in the
// broker's history from then on. REQUIRES: the order in which
// Engine::Subscribe() and Unsubscribe() are called is that in which they count
// outside.
void CheckEngine(EngineUnderTest& engine);

}  // namespace fio::testing

#endif  // FIO_TESTING_ENGINE_CONFORMANCE_H_
