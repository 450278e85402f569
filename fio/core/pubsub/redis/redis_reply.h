// A RedisReply is what a Redis server has said: a value with a type.
//
// Thread safety: as a std::string.

#ifndef FIO_CORE_PUBSUB_REDIS_REDIS_REPLY_H_
#define FIO_CORE_PUBSUB_REDIS_REDIS_REPLY_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fio {

struct RedisReply {
  enum class Type : uint8_t {
    kNil,
    kInteger,  // `integer`
    kDouble,   // `number`
    kBool,     // `integer`: 0 or 1
    kString,   // `text`, of whatever kind; a big number is its digits
    kError,    // `text`, as "WRONGPASS invalid username-password pair"
    kArray,    // `items`
    kMap,      // `items`: a key, its value, the next key
    kSet,      // `items`
    kPush,     // `items`; not the answer to a command
  };

  bool is_error() const { return type == Type::kError; }
  // Whether it is an error of that code, the first word of its text.
  bool IsError(std::string_view code) const {
    return is_error() && text.starts_with(code) &&
           (text.size() == code.size() || text[code.size()] == ' ');
  }

  friend bool operator==(const RedisReply& a, const RedisReply& b) = default;

  Type type = Type::kNil;
  int64_t integer = 0;
  double number = 0;
  std::string text = {};
  std::vector<RedisReply> items = {};
};

}  // namespace fio

#endif  // FIO_CORE_PUBSUB_REDIS_REDIS_REPLY_H_
