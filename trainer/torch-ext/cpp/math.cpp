// Autocast, memory format, copies to cards, gradients and the fused optimizer, behind a C interface.
// Every function returns null, or an error message the caller frees with ext_free.
#include <ATen/autocast_mode.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_amp_foreach_non_finite_check_and_unscale.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include "guard.h"

static std::vector<at::Tensor> list(at::Tensor** p, int n) {
  std::vector<at::Tensor> v;
  v.reserve(n);
  for (int i = 0; i < n; i++) v.push_back(*p[i]);
  return v;
}

extern "C" {
void ext_free(char* p) { free(p); }

void ext_clear_grad(at::Tensor* t) { t->mutable_grad() = at::Tensor(); }

char* ext_autocast(int cuda, int on, int kind) {
  GUARD({
    auto device = cuda ? at::kCUDA : at::kCPU;
    at::autocast::set_autocast_dtype(device, static_cast<at::ScalarType>(kind));
    at::autocast::set_autocast_enabled(device, on != 0);
    if (on) {
      at::autocast::increment_nesting();
    } else if (at::autocast::decrement_nesting() == 0) {
      at::autocast::clear_cache();
    }
  })
}

char* ext_channels_last(at::Tensor* src, at::Tensor** out) {
  GUARD(*out = new at::Tensor(src->contiguous(at::MemoryFormat::ChannelsLast)))
}

// Through pinned memory: a copy from elsewhere makes the host wait for what the card is doing.
char* ext_upload(at::Tensor* src, int card, at::Tensor** out) {
  GUARD({
    at::Device device(at::kCUDA, static_cast<c10::DeviceIndex>(card));
    *out = new at::Tensor(src->pin_memory().to(device, src->scalar_type(), /*non_blocking=*/true));
  })
}

// The norm of all gradients together; when max > 0 they are scaled so that it is at most max.
// Stays on the device: nothing here waits for it.
char* ext_clip_grad_norm(at::Tensor** grads, int n, double max, at::Tensor** out) {
  GUARD({
    at::NoGradGuard no_grad;
    auto g = list(grads, n);
    auto norm = at::stack(at::_foreach_norm(g)).norm();
    if (max > 0) {
      auto factor = (max / (norm + 1e-6)).clamp_max(1.0);
      at::_foreach_mul_(g, factor);
    }
    *out = new at::Tensor(norm);
  })
}

// Divides the gradients by a loss scale in place; the result is 1 when any of them is not finite.
char* ext_unscale(at::Tensor** grads, int n, at::Tensor* inverse_scale, at::Tensor** found) {
  GUARD({
    at::NoGradGuard no_grad;
    auto g = list(grads, n);
    auto bad = at::zeros({}, g[0].options().dtype(at::kFloat));
    at::_amp_foreach_non_finite_check_and_unscale_(g, bad, *inverse_scale);
    *found = new at::Tensor(bad);
  })
}

// One AdamW step over n tensors; skipped on the device where *found is 1.
char* ext_fused_adamw(at::Tensor** p, at::Tensor** g, at::Tensor** m, at::Tensor** v, at::Tensor** step, int n, double lr,
                      double b1, double b2, double decay, double eps, at::Tensor* found) {
  GUARD({
    at::NoGradGuard no_grad;
    auto S = list(step, n);
    at::_foreach_add_(S, 1 - *found);
    at::_fused_adamw_(list(p, n), list(g, n), list(m, n), list(v, n), {}, S, lr, b1, b2, decay, eps, false, false, {}, *found);
  })
}
}
