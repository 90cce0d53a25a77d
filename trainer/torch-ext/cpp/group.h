// A group of processes as the C interface hands it around, and where its backend on CUDA comes from.
#pragma once
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

struct Group {
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::Backend> backend;
};

// This rank's part of an NCCL group, connected, on card number `card`. Throws where this was built without CUDA.
c10::intrusive_ptr<c10d::Backend> open_nccl(const c10::intrusive_ptr<c10d::Store>& store, int rank, int world, int card,
                                            std::chrono::milliseconds timeout);
