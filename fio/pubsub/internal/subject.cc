#include "fio/pubsub/internal/subject.h"

#include <cstddef>
#include <string_view>

namespace fio::pubsub_internal {
namespace {

// Takes the tokens of a subject, one by one. The empty subject has one, which
// is empty.
class Tokens {
 public:
  explicit Tokens(std::string_view subject) : rest_(subject) {}

  bool done() const { return done_; }

  std::string_view Take() {
    const size_t dot = rest_.find('.');
    const std::string_view token = rest_.substr(0, dot);
    done_ = dot == rest_.npos;
    rest_.remove_prefix(done_ ? rest_.size() : dot + 1);
    return token;
  }

 private:
  std::string_view rest_;
  bool done_ = false;
};

}  // namespace

std::string_view SubjectError(std::string_view pattern) {
  if (pattern.find_first_of(" \t\r\n") != pattern.npos) {
    return "it has white space";
  }
  for (Tokens tokens(pattern); !tokens.done();) {
    const std::string_view token = tokens.Take();
    if (token.empty()) return "a token is empty";
    if (token == ">" && !tokens.done()) return "'>' is not the last token";
  }
  return "";
}

size_t SubjectPrefixBytes(std::string_view pattern) {
  size_t bytes = 0;
  for (Tokens tokens(pattern); !tokens.done();) {
    const std::string_view token = tokens.Take();
    if (token == "*" || token == ">") return bytes;
    bytes += token.size();
    if (!tokens.done()) ++bytes;  // The dot.
  }
  return bytes;
}

bool SubjectMatches(std::string_view pattern, std::string_view name) {
  Tokens wanted(pattern);
  Tokens tokens(name);
  while (!wanted.done() && !tokens.done()) {
    const std::string_view want = wanted.Take();
    const std::string_view token = tokens.Take();
    if (token.empty()) return false;
    if (want == ">") {
      while (!tokens.done()) {
        if (tokens.Take().empty()) return false;
      }
      return true;
    }
    if (want != "*" && want != token) return false;
  }
  return wanted.done() && tokens.done();
}

}  // namespace fio::pubsub_internal
