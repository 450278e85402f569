// A RecordIo moves ciphertext between the library and a Socket, through two
// buffers that all connections of a thread share. A connection has bytes of its
// own only between two calls: what the kernel has not taken, and what was read
// but is not needed yet.
//
// The library writes into the buffer, which takes all, and Send() sends that by
// one system call. So the library never waits for room, and several records
// leave together.
//
// Thread safety: none. Calls of different connections may be nested.

#ifndef FIO_TLS_INTERNAL_RECORD_IO_H_
#define FIO_TLS_INTERNAL_RECORD_IO_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "fio/sock/io_result.h"
#include "fio/sock/socket.h"

struct bio_st;

namespace fio::tls_internal {

class RecordIo {
 public:
  struct Buffers;

  // One call of a transport.
  class Call {
   public:
    // About `most_bytes` are read from below at once, none if it is 0. What the
    // library needs beyond that for a record is read, too, until Content().
    Call(RecordIo& io, Socket& socket, size_t most_bytes);
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    ~Call();

   private:
    RecordIo& io_;
  };

  RecordIo() = default;
  RecordIo(const RecordIo&) = delete;
  RecordIo& operator=(const RecordIo&) = delete;

  // What the library reads and writes by. The caller owns it; it must not be
  // used after this object.
  bio_st* NewBio();

  // Sends what was written. EAGAIN: the kernel has no room for all of it. An
  // error that is permanent drops it.
  IoResult Send();

  // This call has something to return, so it can leave the rest in the kernel.
  void Content() { content_ = true; }

  bool in_call() const { return buffers_ != nullptr; }

  // The library has nothing left of what it has read.
  void Taken() { lent_ = 0; }

  // How many bytes the kernel has not taken; and how many were read that the
  // library has not asked for, or has, but not used: of a record that it has
  // not given whole.
  size_t held_bytes() const;
  size_t unread_bytes() const;
  // Whether something was read that the library has not asked for. Between
  // calls.
  bool has_input() const { return !input_.empty(); }

  // The stream below has ended; the errno with which it has failed, or 0.
  bool has_ended() const { return ended_; }
  int error() const { return error_; }
  // The kernel had no memory for the read that this call has tried: its errno,
  // or 0. Nothing was lost, and nothing tells when to try again.
  int memory_error() const { return memory_error_; }

 private:
  friend struct BioFunctions;

  // As of BIO_read(): -1 if there is nothing now.
  int Read(char* out, size_t size);
  bool Refill(size_t wanted);
  void Append(std::string_view bytes);

  Socket* socket_ = nullptr;    // During a call,
  Buffers* buffers_ = nullptr;  // likewise.
  size_t may_read_ = 0;         // At once.
  bool stopped_ = false;        // The kernel has no more for this call.
  bool content_ = false;
  std::string input_, output_;
  size_t lent_ = 0;  // Given to the library since it had nothing.
  int error_ = 0;
  int memory_error_ = 0;
  bool ended_ = false;
};

}  // namespace fio::tls_internal

#endif  // FIO_TLS_INTERNAL_RECORD_IO_H_
