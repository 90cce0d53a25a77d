#pragma once
// PyTorch's wheel ships ProcessGroupGloo.hpp without gloo's own headers. These stubs hold only what
// that header names; nothing of them is ever instantiated here.
#include <chrono>
namespace gloo {
class Context {
 public:
  void setTimeout(std::chrono::milliseconds);
};
}  // namespace gloo
