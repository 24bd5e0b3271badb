#include "converters/quantize/fit/fit.h"

#include "converters/quantize/fit/layouts.h"

namespace ingot::converters::fit {

Fit find_fit(TensorType type) {
    switch (type) {
        case TensorType::Q4_0:
            return fit_q4_0();
        case TensorType::Q4_1:
            return fit_q4_1();
        case TensorType::Q5_0:
            return fit_q5_0();
        case TensorType::Q5_1:
            return fit_q5_1();
        case TensorType::Q8_0:
            return fit_q8_0();
        case TensorType::Q2_K:
            return fit_q2_k();
        case TensorType::Q3_K:
            return fit_q3_k();
        case TensorType::Q4_K:
            return fit_q4_k();
        case TensorType::Q5_K:
            return fit_q5_k();
        case TensorType::Q6_K:
            return fit_q6_k();
        case TensorType::IQ4_NL:
            return fit_iq4_nl();
        case TensorType::IQ4_XS:
            return fit_iq4_xs();
        default:
            return nullptr;
    }
}

}  // namespace ingot::converters::fit
