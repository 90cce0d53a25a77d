// Which operations ran and how long each took by itself, by libtorch's own hook around every operation.
#include <ATen/record_function.h>

#include <chrono>
#include <map>
#include <mutex>

#include "guard.h"

using Clock = std::chrono::steady_clock;

struct Entry {
  long calls = 0;
  double seconds = 0;  // without the operations it called
};

static std::mutex mutex;
static std::map<std::string, Entry> entries;

// Operations call operations: what the inner ones took is taken from the outer.
struct Frame : at::ObserverContext {
  Clock::time_point begun;
  double inner = 0;
  Frame* outer;
};

static thread_local Frame* current = nullptr;

static std::unique_ptr<at::ObserverContext> enter(const at::RecordFunction&) {
  auto frame = std::make_unique<Frame>();
  frame->outer = current;
  current = frame.get();
  frame->begun = Clock::now();
  return frame;
}

static void leave(const at::RecordFunction& function, at::ObserverContext* context) {
  auto* frame = static_cast<Frame*>(context);
  double seconds = std::chrono::duration<double>(Clock::now() - frame->begun).count();
  current = frame->outer;
  if (current) current->inner += seconds;
  std::lock_guard<std::mutex> lock(mutex);
  auto& entry = entries[function.name()];
  entry.calls++;
  entry.seconds += seconds - frame->inner;
}

extern "C" {
// From here on, on every thread, until ext_profile_end.
char* ext_profile_begin(unsigned long* handle) {
  GUARD({
    std::lock_guard<std::mutex> lock(mutex);
    entries.clear();
    *handle = at::addGlobalCallback(at::RecordFunctionCallback(enter, leave).scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}));
  })
}

// One line an operation: name, calls and seconds by itself, separated by tabs. The caller frees it with ext_free.
char* ext_profile_end(unsigned long handle, char** out) {
  GUARD({
    at::removeCallback(handle);
    std::lock_guard<std::mutex> lock(mutex);
    std::string text;
    for (auto& [name, entry] : entries) {
      text += name + "\t" + std::to_string(entry.calls) + "\t" + std::to_string(entry.seconds) + "\n";
    }
    *out = strdup(text.c_str());
  })
}
}
