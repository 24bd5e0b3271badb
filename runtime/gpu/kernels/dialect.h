#pragma once
// The language of the kernels: C++ without a library, of which three compilers make three programs. A group
// of threads runs on one processor and shares memory; 32 threads in a row are the lanes of a warp, which can
// exchange values. Groups know nothing of each other.
//
// clang-format off
//     KERNEL(name, Arguments) { ... }                 an entry of the kernel table; sees its arguments as `a`, its place as `me`
//     GROUP_KERNEL(name, Arguments, Shared) { ... }   … and the memory that its group shares as `shared`, a struct of such
//     GROUP_ARRAY(T, name, n);                        members, undefined at first, aligned to 16 bytes
//     BOUNDED_KERNEL(…, n_threads, n_groups)          the same of groups of up to n_threads, n_groups of which are to run on a processor at
//     BOUNDED_GROUP_KERNEL(…, n_threads, n_groups)    the same time: a thread may have so many registers, and need not spare them
//     EARLY_KERNEL(name, Arguments, n_threads, n_groups)   a BOUNDED_KERNEL that may begin while the launch before it still runs: until
//                                                     me.wait_for_last_launch(), which every thread has to call, it reads what no kernel writes
//     FUNCTION float f(Thread me) { ... }             any other function
//     GLOBAL(T)                                       a pointer to the device's memory; may be null
//     GROUP(T)                                        a pointer to memory that the group shares
//     LOCAL(T)                                        a reference to a thread's own variable
//     ARGUMENTS(T)                                    a reference to a kernel's arguments
//     TABLE(T, name, n) = { ... };                    constants
//     UNROLLED for (...)                              a loop that is written out, so that arrays that it indexes can be registers
//     float_of(bits), bits_of(value)                  a float and its 32 bits
//     load<T>(p), store<T>(p, value)                  a T at the bytes p, which are aligned to sizeof(T)
//     store_four(p, value)                            a uint4 to the group's words p, aligned to 16 bytes
//     halves_of(low, high)                            two floats as halves in a word
//     has_bf16_products()                             whether add_product_bf16 is an instruction, not many: kernels made of it are empty otherwise
//     load_once<T>(p)                                 a T that is not looked at again soon: it need not be kept in a cache
//     prefetch_line(p)                                the 128 bytes around p will be read soon
//     under_way()                                     loads before it are not put off until they are needed
//     begin_copy(words, bytes)                        sixteen bytes to four words of the group's memory, both aligned to that: others can
//     me.end_copies()                                 read them after the thread has ended its copies, and a barrier
//     look_up(table, word)                            each nibble of the word becomes that byte of the uint4: the low nibbles of its
//                                                     bytes are x of a uint2, the high ones y
//     rotated(word, n)                                the word, n bits to the right; what falls out comes back at the left
//
//     me.x, me.y, me.z                                the group
//     me.index, me.n_threads                          the thread within its group
//     me.lane(), me.warp(), me.n_warps()
//     me.barrier()                                    all threads of the group meet; what they wrote before, all can read now
//     me.wait_for_last_launch()                       for what the launches before it wrote; other kernels begin with it
//     me.lane_sum(x), me.lane_max(x)                  of a warp's 32 values; every lane gets the same
//     me.shuffle(x, lane)                             that lane's x, for x a float or an int
//     me.shuffle_xor(x, mask)                         lane ^ mask's x
//     me.add_product(a0, a1, b, product)              signed bytes A (16, 16) · Bᵀ, B being (8, 16): lane l gives bytes 4t … 4t + 3, where
//                                                     t = l % 4, of A's rows l / 4 and 8 + l / 4 and of B's row l / 4, and gets of A's row l / 4
//                                                     by B's rows 2t and 2t + 1, and of A's row 8 + l / 4 by them, added to Product::of[0 … 3]
//     me.add_product_f16(a, b, sums)                  the same of halves with float sums, sums.of[0 … 3], which are added to; a is a uint4: elements
//     me.add_product_bf16(a, b, sums)                 2t, 2t + 1 of A's row l / 4, and of its row 8 + l / 4, then elements 8 + 2t, 9 + 2t of these;
//                                                     b is a uint2: elements 2t, 2t + 1 of B's row l / 4, then 8 + 2t, 9 + 2t. Low bits first.
//     me.rows_of(words, at)                           four matrices (8, 8) of 16 bits from the group's memory, the rows of matrix i at the words
//                                                     `at` (of 16 bytes) of lanes 8i … 8i + 7: word i of the uint4 is elements 2t, 2t + 1 of row l / 4
//     me.columns_of(words, at)                        the same of the transposed matrices: elements l / 4 of rows 2t and 2t + 1
// clang-format on
//
// Numbers: the fixed-width integers, float, uint2 and uint4 (four 32-bit words, x first). There is no double.
// Nothing is fused or reordered by the compilers: a fused multiply-add is written fma().

#if defined(__METAL_VERSION__)
#include "dialect_metal.h"
#elif defined(__CUDACC__)
#include "runtime/gpu/kernels/dialect_cuda.h"
#else
#include "runtime/gpu/kernels/dialect_emulator.h"
#endif
