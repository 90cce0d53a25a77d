// Process groups of c10d, over Gloo on CPUs and NCCL on cards: rendezvous by a TCP store as torchrun sets it up,
// collectives, and two collectives autograd can differentiate. On a card, to wait for a collective makes the card's
// stream wait, not the host.
#define USE_C10D_GLOO 1
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "group.h"
#include "guard.h"

static c10::intrusive_ptr<c10d::Backend> open_gloo(const c10::intrusive_ptr<c10d::Store>& store, int rank, int world,
                                                   std::chrono::milliseconds timeout) {
  auto options = c10d::ProcessGroupGloo::Options::create(timeout);
  const char* interface = getenv("GLOO_SOCKET_IFNAME");
  options->devices.push_back(interface ? c10d::ProcessGroupGloo::createDeviceForInterface(interface)
                                       : c10d::ProcessGroupGloo::createDefaultDevice());
  return c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, world, options);
}

static void all_reduce(Group* g, at::Tensor& t, int op) {
  at::NoGradGuard no_grad;
  std::vector<at::Tensor> v{t};
  c10d::AllreduceOptions o;
  o.reduceOp = static_cast<c10d::ReduceOp::RedOpType>(op);
  g->backend->allreduce(v, o)->wait();
}

// All ranks give the same shape; the result is their concatenation along dimension 0.
static at::Tensor all_gather(Group* g, const at::Tensor& t) {
  at::NoGradGuard no_grad;
  auto in = t.detach().contiguous();
  auto sizes = in.sizes().vec();
  sizes.insert(sizes.begin(), g->backend->getSize());
  auto out = at::empty(sizes, in.options());
  std::vector<std::vector<at::Tensor>> outs{out.unbind(0)};
  std::vector<at::Tensor> ins{in};
  g->backend->allgather(outs, ins)->wait();
  return out.flatten(0, 1);
}

// Gradients of gathered rows are summed over the ranks and each rank keeps its own rows.
struct Gather : public torch::autograd::Function<Gather> {
  static at::Tensor forward(torch::autograd::AutogradContext* c, at::Tensor x, int64_t group) {
    c->saved_data["group"] = group;
    c->saved_data["rows"] = x.size(0);
    return all_gather(reinterpret_cast<Group*>(group), x);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* c, torch::autograd::variable_list grads) {
    auto* g = reinterpret_cast<Group*>(c->saved_data["group"].toInt());
    auto rows = c->saved_data["rows"].toInt();
    auto sum = grads[0].contiguous().clone();
    all_reduce(g, sum, 0);
    return {sum.narrow(0, g->backend->getRank() * rows, rows), at::Tensor()};
  }
};

// Sum over the ranks, forwards and backwards.
struct Sum : public torch::autograd::Function<Sum> {
  static at::Tensor forward(torch::autograd::AutogradContext* c, at::Tensor x, int64_t group) {
    c->saved_data["group"] = group;
    auto sum = x.detach().contiguous().clone();
    all_reduce(reinterpret_cast<Group*>(group), sum, 0);
    return sum;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* c, torch::autograd::variable_list grads) {
    auto sum = grads[0].contiguous().clone();
    all_reduce(reinterpret_cast<Group*>(c->saved_data["group"].toInt()), sum, 0);
    return {sum, at::Tensor()};
  }
};

extern "C" {
// Over NCCL on card number `card`; over Gloo where it is negative.
char* ext_group_open(const char* host, int port, int rank, int world, int card, int seconds, Group** out) {
  GUARD({
    std::chrono::milliseconds timeout = std::chrono::seconds(seconds);
    // torchrun's agent already serves the store; otherwise rank 0 does.
    const char* agent = getenv("TORCHELASTIC_USE_AGENT_STORE");
    c10d::TCPStoreOptions o;
    o.port = port;
    o.isServer = rank == 0 && !(agent && !strcmp(agent, "True"));
    o.numWorkers = world;
    o.waitWorkers = true;
    o.timeout = timeout;
    auto g = std::make_unique<Group>();
    g->store = c10::make_intrusive<c10d::TCPStore>(host, o);
    const char* attempt = getenv("TORCHELASTIC_RESTART_COUNT");
    auto prefix = std::string("cxr_edge_") + (attempt ? attempt : "0");
    auto store = c10::make_intrusive<c10d::PrefixStore>(prefix, g->store);
    g->backend = card < 0 ? open_gloo(store, rank, world, timeout) : open_nccl(store, rank, world, card, timeout);
    *out = g.release();
  })
}
void ext_group_close(Group* g) {
  try {
    g->backend->shutdown();  // NCCL's finishes what is under way
  } catch (const std::exception&) {
    // Nobody can do anything about a group that will not end.
  }
  delete g;
}
char* ext_all_reduce(Group* g, at::Tensor* t, int op) { GUARD(all_reduce(g, *t, op)) }
char* ext_broadcast(Group* g, at::Tensor* t, int root) {
  GUARD({
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> v{*t};
    c10d::BroadcastOptions o;
    o.rootRank = root;
    g->backend->broadcast(v, o)->wait();
  })
}
char* ext_barrier(Group* g) { GUARD(g->backend->barrier()->wait()) }
char* ext_gather(Group* g, at::Tensor* t, at::Tensor** out) {
  GUARD(*out = new at::Tensor(Gather::apply(*t, reinterpret_cast<int64_t>(g))))
}
char* ext_sum(Group* g, at::Tensor* t, at::Tensor** out) {
  GUARD(*out = new at::Tensor(Sum::apply(*t, reinterpret_cast<int64_t>(g))))
}
}
