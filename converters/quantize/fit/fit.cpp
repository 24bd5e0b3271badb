#include "converters/quantize/fit/fit.h"

#include "converters/quantize/fit/layouts.h"

namespace ingot::converters::fit {

Isa best_isa() {
#if defined(__x86_64__)
    static const Isa best = [] {
        if (!__builtin_cpu_supports("avx2")) return Isa::Baseline;
        const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
        return wide ? Isa::Avx512 : Isa::Avx2;
    }();
    return best;
#else
    return Isa::Baseline;
#endif
}

Fit find_fit(TensorType type, Isa isa) {
    switch (type) {
        case TensorType::Q4_0:
            return fit_q4_0(isa);
        case TensorType::Q4_1:
            return fit_q4_1(isa);
        case TensorType::Q5_0:
            return fit_q5_0(isa);
        case TensorType::Q5_1:
            return fit_q5_1(isa);
        case TensorType::Q8_0:
            return fit_q8_0(isa);
        case TensorType::Q2_K:
            return fit_q2_k(isa);
        case TensorType::Q3_K:
            return fit_q3_k(isa);
        case TensorType::Q4_K:
            return fit_q4_k(isa);
        case TensorType::Q5_K:
            return fit_q5_k(isa);
        case TensorType::Q6_K:
            return fit_q6_k(isa);
        case TensorType::IQ4_NL:
            return fit_iq4_nl(isa);
        case TensorType::IQ4_XS:
            return fit_iq4_xs(isa);
        case TensorType::MXFP4:
            return fit_mxfp4(isa);
        case TensorType::TQ1_0:
            return fit_tq1_0(isa);
        case TensorType::TQ2_0:
            return fit_tq2_0(isa);
        default:
            return nullptr;
    }
}

}  // namespace ingot::converters::fit
