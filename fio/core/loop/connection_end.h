// A ConnectionEnd is a part of another object that is told when a connection
// ends, before the connection's protocol is: a subscription that belongs to the
// connection, an exchange that it carries.
//
//   class Subscription : private fio::ConnectionEnd {
//    public:
//     explicit Subscription(fio::Connection& connection) {
//       connection.AddEnd(*this);
//     }
//    private:
//     void OnConnectionEnd(fio::Connection& connection,
//                          const fio::CloseReason& reason) override {
//       Unsubscribe();
//     }
//   };
//
// Until it is told it may keep the address of the connection.
//
// Thread safety: none; that of the connection's loop.

#ifndef FIO_CORE_LOOP_CONNECTION_END_H_
#define FIO_CORE_LOOP_CONNECTION_END_H_

#include "fio/base/list_link.h"
#include "fio/core/loop/protocol.h"

namespace fio {

class Connection;

class ConnectionEnd : private ListLink {
 public:
  ConnectionEnd() = default;
  ConnectionEnd(const ConnectionEnd&) = delete;
  ConnectionEnd& operator=(const ConnectionEnd&) = delete;

  // Whether a connection will tell it.
  bool added() const { return !alone(); }

  // From now on it is not told. O(1).
  void Remove() { Unlink(); }

 protected:
  virtual ~ConnectionEnd() { Unlink(); }

  // Called once, at the end of the turn in which the connection has ended, on
  // the loop's thread, and before Protocol::OnClose(). It is removed by then.
  // It may add, remove and destroy any, itself too. As in OnClose() the
  // connection's id names nothing any more.
  virtual void OnConnectionEnd(Connection& connection,
                               const CloseReason& reason) = 0;

 private:
  friend class Connection;
};

}  // namespace fio

#endif  // FIO_CORE_LOOP_CONNECTION_END_H_
