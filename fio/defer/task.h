// A Task is a callable that is called once later, or destroyed without being
// called. It owns its captures; up to 64 bytes of them cost no allocation.

#ifndef FIO_DEFER_TASK_H_
#define FIO_DEFER_TASK_H_

#include "fio/base/move_only_function.h"

namespace fio {

using Task = MoveOnlyFunction<void(), 64>;

}  // namespace fio

#endif  // FIO_DEFER_TASK_H_
