#include "runtime/cpu/kernels.h"

#include <cstdlib>
#include <string>

#include "format/error.h"
#include "runtime/cpu/kernel_tables.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace ingot::runtime::cpu {
namespace {

constexpr const Kernels* kTables[] = {
#if defined(__x86_64__)
    &kAmxKernels,    &kAvx512Kernels, &kAvxVnniKernels, &kAvx2Kernels,
#elif defined(__aarch64__)
    &kI8mmKernels,
    &kNeonKernels,
#endif
    &kScalarKernels,
};

std::string supported_names() {
    std::string names;
    for (const Kernels* table : kTables) {
        if (table->supported()) names += (names.empty() ? "" : ", ") + std::string(table->name);
    }
    return names;
}

}  // namespace

const Kernels& choose_kernels(std::string_view forced) {
    if (forced.empty()) {
        for (const Kernels* table : kTables) {
            if (table->supported()) return *table;
        }
        return kScalarKernels;
    }
    for (const Kernels* table : kTables) {
        if (table->name != forced) continue;
        if (table->supported()) return *table;
        fail("INGOT_ISA={}: this processor or operating system does not support it; supported here: {}",
             forced, supported_names());
    }
    fail("INGOT_ISA={}: no such instruction set; supported here: {}", forced, supported_names());
}

bool always_supported() {
    return true;
}

#if defined(__x86_64__)
// __builtin_cpu_supports also asks whether the operating system saves the wider registers (XGETBV). Clang 14
// does not know the name of F16C there: bit 29 of ECX, and its registers are those of AVX2.
bool avx2_supported() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & (1u << 29)) && __builtin_cpu_supports("avx2") &&
           __builtin_cpu_supports("fma");
}
bool avxvnni_supported() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    return avx2_supported() && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax & (1u << 4));
}
bool avx512_supported() {
    return avx2_supported() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni");
}
// Linux gives a process the matrix registers when it asks for them; threads that begin afterwards have them,
// too.
static bool allow_matrix_registers() {
#if defined(__linux__)
    constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
#else
    return false;
#endif
}
bool amx_supported() {
    constexpr unsigned kTilesAndBf16 = 1u << 24 | 1u << 22, kAvx512Bf16 = 1u << 5;
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    if (!avx512_supported()) return false;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || (edx & kTilesAndBf16) != kTilesAndBf16)
        return false;
    if (!__get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) || !(eax & kAvx512Bf16)) return false;
    static const bool allowed = allow_matrix_registers();
    return allowed;
}
#elif defined(__aarch64__) && defined(__APPLE__)
static bool has(const char* feature) {
    int value = 0;
    size_t size = sizeof value;
    return sysctlbyname(feature, &value, &size, nullptr, 0) == 0 && value != 0;
}
bool neon_supported() {
    return has("hw.optional.arm.FEAT_DotProd");
}
bool i8mm_supported() {
    return neon_supported() && has("hw.optional.arm.FEAT_I8MM");
}
#elif defined(__aarch64__)
bool neon_supported() {
    constexpr unsigned long kDotProducts = 1ul << 20;  // HWCAP_ASIMDDP of Linux
    return (getauxval(AT_HWCAP) & kDotProducts) != 0;
}
bool i8mm_supported() {
    constexpr unsigned long kMatrixProducts = 1ul << 13;  // HWCAP2_I8MM of Linux
    return neon_supported() && (getauxval(AT_HWCAP2) & kMatrixProducts) != 0;
}
#endif

size_t activation_bytes(ActivationForm form, int64_t n) {
    switch (form) {
        case ActivationForm::F32:
            return size_t(n) * sizeof(float);
        case ActivationForm::Q8_0:
            return size_t(n) + size_t(n / 32) * 2 * sizeof(float);
        case ActivationForm::Q8_K:
            return size_t(n / 256) * sizeof(ActivationBlock256);
    }
    fail("activation form {} is unknown", int(form));
}

const Kernels& scalar_kernels() {
    return kScalarKernels;
}

std::span<const Kernels* const> all_kernels() {
    return kTables;
}

const Kernels& kernels() {
    const auto choose = []() -> const Kernels& {
        const char* const forced = std::getenv("INGOT_ISA");
        return choose_kernels(forced ? forced : "");
    };
    static const Kernels& chosen = choose();  // a throw leaves it undecided: the next call tries again
    return chosen;
}

const Kernels::Matmul* find_matmul(const Kernels& kernels, TensorType type) {
    for (const Kernels* table : {&kernels, &kScalarKernels}) {
        for (const auto& matmul : table->matmuls) {
            if (matmul.type == type) return &matmul;
        }
    }
    return nullptr;
}

}  // namespace ingot::runtime::cpu
