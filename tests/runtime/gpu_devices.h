#pragma once
// The CPU and the GPU that is tested, and how tests put things on them.
#include <cmath>
#include <random>

#include "runtime/cpu/cpu_backend.h"
#include "runtime/gpu/gpu_backend.h"
#include "runtime/gpu/planes.h"
#include "tests/catch.h"
#include "tests/runtime/gpu.h"
#include "tests/runtime/kernels.h"

namespace gpu_tests {

using namespace ingot;
using namespace ingot::runtime;
using namespace kernel_tests;

/// The two devices, and how a test puts things on them.
struct Devices {
    CpuBackend cpu{1, cpu::scalar_kernels()};
    GpuBackend gpu{gpu::open_device(tested_device())};
};

template <typename T>
std::unique_ptr<Buffer> on(Backend& backend, const std::vector<T>& values) {
    auto buffer = backend.allocate(std::max<size_t>(1, values.size()) * sizeof(T));
    backend.upload(std::as_bytes(std::span(values)), *buffer);
    return buffer;
}
template <typename T = float>
std::vector<T> from(Backend& backend, const Buffer& buffer, size_t n) {
    std::vector<T> values(n);
    backend.download(buffer, std::as_writable_bytes(std::span(values)));
    return values;
}

/// What `compute` leaves in n floats of y, which begins as ones, on each device; both must be within
/// `tolerance`, Euclidean and relative. Products are of the same 8-bit integers on both (see
/// gpu_warpgroups.cpp for those that aren't).
template <typename Compute>
void compare(size_t n, double tolerance, Compute compute) {
    Devices devices;
    devices.gpu.use_warpgroup_products(false);
    std::vector<float> results[2];
    Backend* const backends[] = {&devices.cpu, &devices.gpu};
    for (int i = 0; i < 2; ++i) {
        const auto y = on(*backends[i], std::vector<float>(n, 1.0f));
        compute(*backends[i], *y);
        results[i] = from(*backends[i], *y, n);
    }
    for (const float value : results[1]) REQUIRE(std::isfinite(value));
    CHECK(relative_error(results[1], results[0]) <= tolerance);
}

/// Layouts that the device has kernels for.
inline std::vector<TensorType> device_layouts() {
    std::vector<TensorType> types;
    for (const TensorTypeInfo& type : tensor_types()) {
        if (gpu::find_layout(type.type) != nullptr) types.push_back(type.type);
    }
    return types;
}

inline std::vector<uint8_t> rows_of(TensorType type, int64_t n_rows, int64_t n_in, uint32_t seed) {
    if (type != TensorType::MXFP4) return random_rows(type, n_rows, n_in, Values::Random, seed);
    std::mt19937 generator(seed);
    std::vector<uint8_t> bytes(size_t(row_bytes(type, uint64_t(n_in)) * uint64_t(n_rows)));
    for (size_t i = 0; i < bytes.size(); ++i)
        bytes[i] = uint8_t(i % 17 == 0 ? 120 + generator() % 12 : generator());
    return bytes;
}

}  // namespace gpu_tests
