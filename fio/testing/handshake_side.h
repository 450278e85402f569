// One side of a small secure-like protocol for tests, without any I/O: bytes
// of the wire go in, and bytes for the wire come out. HandshakeTransport is the
// same on a socket. Use a HandshakeSide for the far end of a connection, where
// there are only bytes:
//
//   HandshakeScript script{.rounds = 2};
//   HandshakeSide far(HandshakeSide::Role::kClient, script);
//   peer.Send(far.TakeOutput());
//   world.RunUntilIdle();
//   far.Receive(peer.TakeReceived());
//
// The protocol: first a handshake. In each of its rounds the client sends a
// record and the server answers with one. Then both may send bytes. They travel
// in records, and each byte is changed by a key that moves on with each byte.
// So a byte that passes the transport by, is lost, comes twice or is out of
// order does not go unnoticed: the side fails with kDataLoss. A record may ask
// for an answer, which the other side makes while it receives. An alert or a
// farewell is the last record of a side.
//
// Thread safety: none.

#ifndef FIO_TESTING_HANDSHAKE_SIDE_H_
#define FIO_TESTING_HANDSHAKE_SIDE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace fio::testing {

// What a side does. Both sides need the same `rounds`.
struct HandshakeScript {
  // How many records each side sends before bytes may pass. With 0 they may
  // pass at once.
  int rounds = 2;
  // The size of each of these records.
  size_t round_bytes = 40;

  // The round, from 1 on, in which this side suspends when the other side's
  // record has come, until Resume(). 0: never.
  int suspend_in_round = 0;
  // The round in which it fails when the other side's record has come: it sends
  // an alert with the message of `failure`. 0: never.
  int fail_in_round = 0;
  absl::Status failure = absl::PermissionDeniedError("refused by the script");

  // How many bytes of the application a record has at most.
  size_t record_bytes = 1000;
  // Asks the other side for an answer with every n-th record. 0: never.
  int ask_every = 0;

  // Numbers that a seed chooses: rounds, sizes, and how often it asks. It never
  // suspends or fails.
  static HandshakeScript FromSeed(uint64_t seed);
};

class HandshakeSide {
 public:
  enum class Role : uint8_t { kClient, kServer };
  enum class State : uint8_t {
    kShaking,
    kSuspended,  // Until Resume().
    kOpen,       // Bytes may pass.
    kFailed,     // status() says why.
  };

  HandshakeSide(Role role, const HandshakeScript& script);

  State state() const { return state_; }
  // kPermissionDenied or what the script says, kAborted after an alert of the
  // other side, kDataLoss if the bytes of the wire are not what that has sent.
  const absl::Status& status() const { return status_; }

  // Takes bytes of the wire, any number of them.
  void Receive(std::string_view wire);
  // Goes on after kSuspended; else does nothing.
  void Resume();

  // Makes records of `bytes`. REQUIRES: the state is kOpen.
  void Send(std::string_view bytes);
  // Makes the last record. REQUIRES: the state is kOpen.
  void SayFarewell();

  // What is to be sent on the wire, and has not been taken by Sent().
  std::string_view output() const {
    return std::string_view(output_).substr(sent_);
  }
  void Sent(size_t bytes);
  std::string TakeOutput();

  // The bytes of the application that have come and were not taken.
  std::string_view received() const {
    return std::string_view(received_).substr(taken_);
  }
  void Take(size_t bytes);
  std::string TakeReceived();
  // Those, and what has come of a record that is not whole.
  size_t unread_bytes() const { return received().size() + wire_.size(); }

  // Whether the other side has said farewell: nothing comes after it.
  bool has_ended() const { return ended_; }
  // How many answers have come to what this side has asked for.
  int answers() const { return answers_; }

 private:
  enum class Type : uint8_t {
    kRound,
    kBytes,
    kAsk,
    kAnswer,
    kAlert,
    kFarewell
  };
  // A stream of numbers, the same for who sends and who receives.
  class Key {
   public:
    explicit Key(uint8_t start) : next_(start) {}
    // From the byte at `from` on.
    void Apply(std::string& bytes, size_t from);

   private:
    uint8_t next_;
  };

  void Append(Type type, std::string_view payload);
  void ReceiveRecords();
  bool ReceiveRecord();
  void OnRecord(Type type, std::string_view payload);
  void OnRound(std::string_view payload);
  void AnswerRound();
  void SendRound();
  void Fail(const absl::Status& status);

  const Role role_;
  const HandshakeScript script_;
  State state_ = State::kShaking;
  absl::Status status_;
  int round_ = 1;  // That is under way.
  int records_ = 0;
  bool ended_ = false;
  int answers_ = 0;

  Key send_key_, receive_key_;
  std::string output_;
  size_t sent_ = 0;   // Of `output_`.
  std::string wire_;  // Less than a record, or more while suspended.
  std::string received_;
  size_t taken_ = 0;  // Of `received_`.
};

}  // namespace fio::testing

#endif  // FIO_TESTING_HANDSHAKE_SIDE_H_
