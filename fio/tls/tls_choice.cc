#include "fio/tls/tls_choice.h"

#include <memory>
#include <utility>

#include "fio/tls/internal/choice_state.h"
#include "fio/tls/tls_context.h"

namespace fio {

using tls_internal::ChoiceState;

namespace {

void Give(std::shared_ptr<ChoiceState>& state, ChoiceState::Answer answer,
          std::shared_ptr<const TlsContext> context = nullptr) {
  const std::shared_ptr<ChoiceState> given = std::move(state);
  if (given != nullptr) given->Give(answer, std::move(context));
}

}  // namespace

TlsChoice::TlsChoice(std::shared_ptr<ChoiceState> state)
    : state_(std::move(state)) {}

TlsChoice::~TlsChoice() { Give(state_, ChoiceState::Answer::kRefuse); }

TlsChoice& TlsChoice::operator=(TlsChoice&& other) noexcept {
  if (this == &other) return *this;
  Give(state_, ChoiceState::Answer::kRefuse);
  state_ = std::move(other.state_);
  return *this;
}

void TlsChoice::Use(std::shared_ptr<const TlsContext> context) && {
  const bool usable = context != nullptr && context->is_server();
  Give(state_,
       usable ? ChoiceState::Answer::kUse : ChoiceState::Answer::kRefuse,
       std::move(context));
}

void TlsChoice::UseOwn() && { Give(state_, ChoiceState::Answer::kOwn); }

void TlsChoice::Refuse() && { Give(state_, ChoiceState::Answer::kRefuse); }

}  // namespace fio
