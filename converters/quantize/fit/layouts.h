#pragma once
// The search of each layout for this machine's instruction set; find_fit() is the table over them.
#include "converters/quantize/fit/fit.h"

namespace ingot::converters::fit {

Fit fit_q4_0();
Fit fit_q4_1();
Fit fit_q5_0();
Fit fit_q5_1();
Fit fit_q8_0();
Fit fit_q2_k();
Fit fit_q3_k();
Fit fit_q4_k();
Fit fit_q5_k();
Fit fit_q6_k();
Fit fit_iq4_nl();
Fit fit_iq4_xs();

}  // namespace ingot::converters::fit
