// What only the CUDA half of libtorch can do: c10d's NCCL backend, and counting how often the host waits for a card.
// build.rs defines TORCH_EXT_CUDA where LIBTORCH holds that half; without it both refuse.
#include "group.h"
#include "guard.h"

#ifdef TORCH_EXT_CUDA
#define USE_C10D_NCCL 1
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

// Two ranks on one card would wait for each other for ever, or fail in words that name neither.
static void claim(c10d::Store& store, int rank, int card) {
  const auto& uuid = at::cuda::getDeviceProperties(card)->uuid;
  auto key = "card " + std::string(uuid.bytes, sizeof uuid.bytes);
  if (store.add(key, 1) > 1) {
    throw std::runtime_error("rank " + std::to_string(rank) + " was given cuda:" + std::to_string(card) +
                             ", which another rank has: NCCL wants a card for each (--device cuda gives every rank its own)");
  }
}

c10::intrusive_ptr<c10d::Backend> open_nccl(const c10::intrusive_ptr<c10d::Store>& store, int rank, int world, int card,
                                            std::chrono::milliseconds timeout) {
  claim(*store, rank, card);
  c10::cuda::set_device(card);  // or every rank keeps a context on card 0 too
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = timeout;
  auto backend = c10::make_intrusive<c10d::ProcessGroupNCCL>(store, rank, world, options);
  at::Device device(at::kCUDA, static_cast<c10::DeviceIndex>(card));
  backend->setBoundDeviceId(device);
  backend->eagerConnectSingleDevice(device);  // what is wrong is told now, not at the first collective
  return backend;
}

// libtorch warns of every operation for which the host waits once it is asked to; operations of the backward pass
// warn on the thread that started it.
struct Waits : c10::WarningHandler {
  unsigned long count = 0;
  void process(const c10::Warning& warning) override {
    if (warning.msg().find("synchronizing CUDA operation") != std::string::npos) {
      count++;
    } else {
      c10::WarningHandler::process(warning);
    }
  }
};

static thread_local Waits waits;

extern "C" {
// From here on, on this thread, until ext_waits_end.
char* ext_waits_begin() {
  GUARD({
    waits.count = 0;
    c10::WarningUtils::set_warning_handler(&waits);
    c10::cuda::warning_state().set_sync_debug_mode(c10::cuda::SyncDebugMode::L_WARN);
  })
}
char* ext_waits_end(unsigned long* count) {
  GUARD({
    c10::cuda::warning_state().set_sync_debug_mode(c10::cuda::SyncDebugMode::L_DISABLED);
    c10::WarningUtils::set_warning_handler(nullptr);
    *count = waits.count;
  })
}
char* ext_card_memory(int card, long long* bytes) {
  GUARD({
    const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(static_cast<c10::DeviceIndex>(card));
    *bytes = stats.allocated_bytes[0].peak;  // 0: of all pools together
  })
}
}

#else

static const char* MISSING = "built without CUDA";

c10::intrusive_ptr<c10d::Backend> open_nccl(const c10::intrusive_ptr<c10d::Store>&, int, int, int, std::chrono::milliseconds) {
  throw std::runtime_error(MISSING);
}

extern "C" {
char* ext_waits_begin() { GUARD(throw std::runtime_error(MISSING)) }
char* ext_waits_end(unsigned long*) { GUARD(throw std::runtime_error(MISSING)) }
char* ext_card_memory(int, long long*) { GUARD(throw std::runtime_error(MISSING)) }
}
#endif
