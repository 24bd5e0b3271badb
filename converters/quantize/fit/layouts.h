#pragma once
// The search of each layout for an instruction set; find_fit() is the table over them.
#include "converters/quantize/fit/fit.h"

namespace ingot::converters::fit {

Fit fit_q4_0(Isa isa);
Fit fit_q4_1(Isa isa);
Fit fit_q5_0(Isa isa);
Fit fit_q5_1(Isa isa);
Fit fit_q8_0(Isa isa);
Fit fit_q2_k(Isa isa);
Fit fit_q3_k(Isa isa);
Fit fit_q4_k(Isa isa);
Fit fit_q5_k(Isa isa);
Fit fit_q6_k(Isa isa);
Fit fit_iq4_nl(Isa isa);
Fit fit_iq4_xs(Isa isa);
Fit fit_mxfp4(Isa isa);
Fit fit_tq1_0(Isa isa);
Fit fit_tq2_0(Isa isa);

}  // namespace ingot::converters::fit
