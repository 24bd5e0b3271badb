// What an NVIDIA GPU can do at best, by loops that do nothing else: copies of memory, and products of bfloat16
// matrices by its tensor cores. Prints two lines of Markdown. Needs the driver only: nvcc -O3 gpu_limits.cu
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

constexpr int kRepetitions = 20;
constexpr size_t kCopyBytes = size_t(1) << 30;
constexpr int kProducts = 4096;  // of each warp in a launch
constexpr int kChains = 8;       // products that do not wait for each other

void check(cudaError_t error, const char* what) {
    if (error == cudaSuccess) return;
    std::fprintf(stderr, "gpu_limits: %s: %s\n", what, cudaGetErrorString(error));
    std::exit(1);
}

__global__ void copy(const uint4* from, uint4* to, size_t n) {
    const size_t n_threads = size_t(gridDim.x) * blockDim.x;
    for (size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += n_threads) to[i] = from[i];
}

// D (16, 8) += A (16, 16) · B (16, 8), again and again: 4096 multiply-adds each.
__global__ void multiply(float* sums) {
    const uint32_t a[4] = {threadIdx.x, 1, 2, 3}, b[2] = {4, 5};
    float d[kChains][4] = {};
    for (int i = 0; i < kProducts / kChains; ++i) {
        for (int chain = 0; chain < kChains; ++chain) {
            float* c = d[chain];
            asm volatile(
                "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                "{%0,%1,%2,%3};"
                : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
        }
    }
    float sum = 0;
    for (int chain = 0; chain < kChains; ++chain)
        for (int i = 0; i < 4; ++i) sum += d[chain][i];
    sums[size_t(blockIdx.x) * blockDim.x + threadIdx.x] = sum;
}

/// Seconds of the fastest of some launches.
template <typename Launch>
double fastest(Launch launch) {
    cudaEvent_t begin, end;
    check(cudaEventCreate(&begin), "cudaEventCreate");
    check(cudaEventCreate(&end), "cudaEventCreate");
    float best = 1e30f;
    for (int i = 0; i < kRepetitions; ++i) {
        check(cudaEventRecord(begin), "cudaEventRecord");
        launch();
        check(cudaEventRecord(end), "cudaEventRecord");
        check(cudaEventSynchronize(end), "a launch");
        float milliseconds = 0;
        check(cudaEventElapsedTime(&milliseconds, begin, end), "cudaEventElapsedTime");
        best = std::min(best, milliseconds);
    }
    return double(best) / 1e3;
}

}  // namespace

int main() {
    cudaDeviceProp device{};
    check(cudaGetDeviceProperties(&device, 0), "no GPU");
    uint4 *from = nullptr, *to = nullptr;
    check(cudaMalloc(&from, kCopyBytes), "cudaMalloc");
    check(cudaMalloc(&to, kCopyBytes), "cudaMalloc");
    check(cudaMemset(from, 1, kCopyBytes), "cudaMemset");
    const int n_blocks = device.multiProcessorCount * 8;
    const double copy_seconds =
        fastest([&] { copy<<<n_blocks, 512>>>(from, to, kCopyBytes / sizeof(uint4)); });
    const double product_seconds =
        fastest([&] { multiply<<<n_blocks, 256>>>(reinterpret_cast<float*>(to)); });
    const double n_operations = 2.0 * 16 * 8 * 16 * kProducts * n_blocks * (256 / 32);
    std::printf("- copies: %.0f GB/s read and as much written, together %.0f GB/s\n",
                double(kCopyBytes) / copy_seconds / 1e9, 2 * double(kCopyBytes) / copy_seconds / 1e9);
    std::printf("- bfloat16 products by mma.sync: %.0f TFLOP/s\n", n_operations / product_seconds / 1e12);
}
