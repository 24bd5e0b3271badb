// The kernels, compiled for Apple's GPUs: xcrun metal -std=metal3.0 -ffp-contract=off -fno-fast-math.
#include "../gpu/kernels/all.h"
