#pragma once
// Products of warpgroups in PTX (wgmma; PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions").

#define WARPGROUP_KERNEL(name, Arguments, Shared, n_threads_)                     \
    FUNCTION void name##_body(ARGUMENTS(Arguments) a, Thread me, Shared& shared); \
    __global__ void __launch_bounds__(n_threads_, 1)                              \
        name(const __grid_constant__ Arguments a){WARPGROUP_BODY(                 \
            name, a, Shared)} FUNCTION void name##_body(ARGUMENTS(Arguments) a, Thread me, Shared& shared)
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define WARPGROUP_BODY(name, a, Shared)                 \
    extern __shared__ __align__(1024) uint8_t memory[]; \
    const Thread me = Thread::begin();                  \
    me.wait_for_last_launch();                          \
    name##_body(a, me, *reinterpret_cast<Shared*>(memory));
#else
#define WARPGROUP_BODY(name, a, Shared) __trap();
#endif

namespace ingot::runtime::gpu {

struct WarpgroupNumbers {
    uint32_t of[4];
};
template <int n>
struct WarpgroupSums {
    float of[n / 2];
};

/// Bits of a matrix descriptor (PTX ISA, "Matrix Descriptor Format"), in units of 16 bytes: 0 … 13 the
/// address, 16 … 29 not used here, 32 … 45 from 8 rows to the next 8; 62 and 63: 1, a swizzle by 128 bytes.
FUNCTION uint64_t swizzled_rows(const uint32_t* words) {
    const uint32_t address = uint32_t(__cvta_generic_to_shared(words));
    return uint64_t((address & 0x3ffffu) >> 4 | 1u << 16) | uint64_t(1024u >> 4 | 1u << 30) << 32;
}
FUNCTION uint64_t columns_from(uint64_t rows, int k) {
    return rows + uint64_t(2 * k / 16);
}

/// By an operation, since moves are left out: groups have one dimension, which compilers don't know.
FUNCTION uint32_t copy_of(uint32_t word) {
    return word ^ threadIdx.y;
}
FUNCTION uint32_t halves_of_bytes(uint32_t word, int i) {
    return __byte_perm(word, 0x64646464u, i == 0 ? 0x4140u : 0x4342u);
}
FUNCTION __half2 as_half2(uint32_t word) {
    return *reinterpret_cast<const __half2*>(&word);
}
FUNCTION uint32_t as_word(__half2 halves) {
    return *reinterpret_cast<const uint32_t*>(&halves);
}
FUNCTION uint32_t add_halves(uint32_t a, uint32_t b) {
    return as_word(__hadd2_rn(as_half2(a), as_half2(b)));
}
FUNCTION uint32_t multiply_halves(uint32_t a, uint32_t b) {
    return as_word(__hmul2_rn(as_half2(a), as_half2(b)));
}
FUNCTION uint32_t multiply_add_halves(uint32_t a, uint32_t b, uint32_t c) {
    return as_word(__hfma2(as_half2(a), as_half2(b), as_half2(c)));
}

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// All of the sums are operands: the compiler must neither move nor copy them while a product adds to them.
#define SUMS_64(s)                                                                                         \
    SUMS_8(s, 0), SUMS_8(s, 8), SUMS_8(s, 16), SUMS_8(s, 24), SUMS_8(s, 32), SUMS_8(s, 40), SUMS_8(s, 48), \
        SUMS_8(s, 56)
#define SUMS_128(s)                                                                                        \
    SUMS_64(s), SUMS_8(s, 64), SUMS_8(s, 72), SUMS_8(s, 80), SUMS_8(s, 88), SUMS_8(s, 96), SUMS_8(s, 104), \
        SUMS_8(s, 112), SUMS_8(s, 120)
#define SUMS_8(s, i)                                                                            \
    "+f"(s[i]), "+f"(s[i + 1]), "+f"(s[i + 2]), "+f"(s[i + 3]), "+f"(s[i + 4]), "+f"(s[i + 5]), \
        "+f"(s[i + 6]), "+f"(s[i + 7])
#define NAMES_64                                                       \
    "{"                                                                \
    "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"           \
    "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31," \
    "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47," \
    "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}"
#define NAMES_128                                                                  \
    "{"                                                                            \
    "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"                       \
    "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"             \
    "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"             \
    "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"             \
    "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"             \
    "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95,"             \
    "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111," \
    "%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127}"

#define PRODUCT_OF_WARPGROUP(Layout, type, n, n_sums, a0, a1, a2, a3, b, is_sum)                           \
    FUNCTION void add_warpgroup_product(Layout, Thread, WarpgroupNumbers& a, uint64_t rows,                \
                                        WarpgroupSums<n>& sums, bool adds) {                               \
        float(&s)[n / 2] = sums.of;                                                                        \
        asm volatile("{.reg .pred p; setp.ne.b32 p, %" #is_sum                                             \
                     ", 0;\n"                                                                              \
                     "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." #type "." #type " " NAMES_##n_sums  \
                     ", {%" #a0 ",%" #a1 ",%" #a2 ",%" #a3 "}, %" #b ", p, 1, 1, 0;}"                      \
                     : SUMS_##n_sums(s)                                                                    \
                     : "r"(a.of[0]), "r"(a.of[1]), "r"(a.of[2]), "r"(a.of[3]), "l"(rows), "r"(int(adds))); \
    }
PRODUCT_OF_WARPGROUP(F16, f16, 128, 64, 64, 65, 66, 67, 68, 69)
PRODUCT_OF_WARPGROUP(F16, f16, 256, 128, 128, 129, 130, 131, 132, 133)
PRODUCT_OF_WARPGROUP(BF16, bf16, 128, 64, 64, 65, 66, 67, 68, 69)
PRODUCT_OF_WARPGROUP(BF16, bf16, 256, 128, 128, 129, 130, 131, 132, 133)
#undef PRODUCT_OF_WARPGROUP

FUNCTION void begin_products(Thread) {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
FUNCTION void end_products(Thread) {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
FUNCTION void keep_sums(WarpgroupSums<128>& sums) {
    asm volatile("" : SUMS_64(sums.of)::"memory");
}
FUNCTION void keep_sums(WarpgroupSums<256>& sums) {
    asm volatile("" : SUMS_128(sums.of)::"memory");
}
template <int n_left, int n>
FUNCTION void wait_for_products(Thread, WarpgroupSums<n>& sums) {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(n_left) : "memory");
    if (n_left == 0) keep_sums(sums);
}
#undef NAMES_64
#undef NAMES_128
#undef SUMS_8
#undef SUMS_64
#undef SUMS_128

// What begin_copy() wrote, too.
FUNCTION void show_to_products(Thread) {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
FUNCTION void end_copies_of_set(Thread) {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int n_left>
FUNCTION void wait_for_copies(Thread) {
    asm volatile("cp.async.wait_group %0;" ::"n"(n_left) : "memory");
}

#else  // a kernel's body is compiled, and never called

template <typename Layout, int n>
FUNCTION void add_warpgroup_product(Layout, Thread, WarpgroupNumbers&, uint64_t, WarpgroupSums<n>&, bool) {}
FUNCTION void begin_products(Thread) {}
FUNCTION void end_products(Thread) {}
template <int n_left, int n>
FUNCTION void wait_for_products(Thread, WarpgroupSums<n>&) {}
FUNCTION void show_to_products(Thread) {}
FUNCTION void end_copies_of_set(Thread) {}
template <int n_left>
FUNCTION void wait_for_copies(Thread) {}

#endif

}  // namespace ingot::runtime::gpu
