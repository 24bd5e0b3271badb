#pragma once
// What NVIDIA's Hopper has beyond the dialect: products of warpgroups, the 128 threads from a multiple of 128
// on. They run beside what the threads do meanwhile, and read one of the factors from the group's memory.
// Metal has nothing like it and doesn't see this file; elsewhere on CUDA the kernels are empty, and never
// chosen.
//
// clang-format off
//     WARPGROUP_KERNEL(name, Arguments, Shared, n_threads) { ... }   as GROUP_KERNEL, of groups that may share up to 227 KiB; `shared` is
//                                                     aligned to 1024 bytes
//     WarpgroupNumbers a                              registers a.of[0 … 3]: a thread's part of A (64, 16). Warp w has rows 16 (w % 4) …,
//                                                     its lanes as the a of add_product_f16
//     WarpgroupSums<n> sums                           registers sums.of[0 … n / 2 - 1] of A · Bᵀ (64, n): of[4c …] are those of add_product for
//                                                     rows 8c … of B
//     uint64_t rows = swizzled_rows(words)            B (n, 16) of 16 bits in the group's memory: row r begins 128 r bytes behind the words, at a
//                                                     multiple of 1024; the sixteen bytes i of a row's 128 lie at place i ^ (r % 8)
//     columns_from(rows, k)                           … from its column k on, a multiple of 16 below 64
//     begin_products(me)                              what was written to registers of products counts for the next ones
//     add_warpgroup_product(F16{}, me, a, rows, sums, adds)   begins sums = A · Bᵀ, plus sums if it adds, of halves …
//     add_warpgroup_product(BF16{}, …)                … or bfloat16s, by all threads of the warpgroup
//     end_products(me)                                those begun since the last end are a set
//     wait_for_products<n>(me, sums)                  until all sets but the n last are done. Before that nobody may touch the registers of a set's
//                                                     products, nor write what they read
//     show_to_products(me)                            what the thread has written to the group's memory, products can read behind a barrier
//     end_copies_of_set(me)                           the thread's begin_copy() since the last end are a set
//     wait_for_copies<n>(me)                          until all of them but the n last are done
//     copy_of(word)                                   in a register of its own: what is loaded next would else take the place of A
//     halves_of_bytes(word, i)                        bytes 2i and 2i + 1 as the halves 1024 + byte
//     add_halves(a, b), multiply_halves(a, b)         two halves each, rounded to nearest
//     multiply_add_halves(a, b, c)                    a * b + c, rounded once
// clang-format on
#include "arguments.h"
#include "layouts.h"

#if defined(__CUDACC__)
#include "runtime/gpu/kernels/dialect_warpgroup_cuda.h"
#else
#include "runtime/gpu/kernels/dialect_warpgroup_emulator.h"
#endif
