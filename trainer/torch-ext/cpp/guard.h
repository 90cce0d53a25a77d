#pragma once
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

// Runs the statements; an exception becomes a message for the caller to free.
#define GUARD(...)                \
  try {                           \
    __VA_ARGS__;                  \
    return nullptr;               \
  } catch (const std::exception& e) { \
    return strdup(e.what());      \
  }
