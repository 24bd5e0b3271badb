// What an NVIDIA GPU can do at best, by loops that do nothing else: reads and copies of memory, and products
// of bfloat16 matrices by its tensor cores (float16 where it has no bfloat16). Prints three lines of
// Markdown.
//
//     nvcc -O3 -std=c++17 gpu_limits.cu -o gpu_limits && ./gpu_limits [INDEX]
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

constexpr int kRepetitions = 20;
constexpr size_t kMostBytes = size_t(1) << 30;  // larger than any cache
constexpr int kThreads = 256;
constexpr int kUnrolled = 8;           // loads of a thread that are under way together
constexpr int kProducts = 16384;       // of each warp in a launch
constexpr int kChains = 8;             // products that do not wait for each other
constexpr int kOperands = 0x3f803f80;  // two ones in bfloat16 (in float16 also a number: 1.875)

void check(cudaError_t error, const char* what) {
    if (error == cudaSuccess) return;
    std::fprintf(stderr, "gpu_limits: %s: %s\n", what, cudaGetErrorString(error));
    std::exit(1);
}

// A group reads kThreads * kUnrolled neighbours at a time; n is a multiple of that.
__device__ void take(const uint4* from, size_t first, uint4 (&values)[kUnrolled]) {
#pragma unroll
    for (int i = 0; i < kUnrolled; ++i) values[i] = from[first + size_t(i) * kThreads + threadIdx.x];
}

__global__ void __launch_bounds__(kThreads) copy(const uint4* from, uint4* to, size_t n) {
    constexpr size_t kStep = size_t(kThreads) * kUnrolled;
    for (size_t first = blockIdx.x * kStep; first < n; first += gridDim.x * kStep) {
        uint4 values[kUnrolled];
        take(from, first, values);
#pragma unroll
        for (int i = 0; i < kUnrolled; ++i) to[first + size_t(i) * kThreads + threadIdx.x] = values[i];
    }
}

// What is read has to matter: the exclusive or of all words is written where it is not zero.
__global__ void __launch_bounds__(kThreads) read(const uint4* from, uint32_t* to, size_t n) {
    constexpr size_t kStep = size_t(kThreads) * kUnrolled;
    uint32_t sum = 0;
    for (size_t first = blockIdx.x * kStep; first < n; first += gridDim.x * kStep) {
        uint4 values[kUnrolled];
        take(from, first, values);
#pragma unroll
        for (int i = 0; i < kUnrolled; ++i) sum ^= values[i].x ^ values[i].y ^ values[i].z ^ values[i].w;
    }
    if (sum != 0) *to = sum;
}

// D (16, 8) += A (16, 16) · B (16, 8), again and again: 2048 multiply-adds each.
__global__ void __launch_bounds__(kThreads) multiply(float* sums) {
    uint32_t a[4], b[2];
    for (int i = 0; i < 4; ++i) a[i] = kOperands + (threadIdx.x + i) % 64;
    for (int i = 0; i < 2; ++i) b[i] = kOperands + (threadIdx.x + i) % 32;
    float d[kChains][4] = {};
    for (int i = 0; i < kProducts / kChains; ++i) {
#pragma unroll
        for (int chain = 0; chain < kChains; ++chain) {
            float* c = d[chain];
#if __CUDA_ARCH__ >= 800
            asm volatile(
                "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                "{%0,%1,%2,%3};"
                : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                asm volatile(
                    "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
                    "{%0,%1,%2,%3};"
                    : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                    : "r"(a[2 * half]), "r"(a[2 * half + 1]), "r"(b[half]));
            }
#endif
        }
    }
    float sum = 0;
    for (int chain = 0; chain < kChains; ++chain)
        for (int i = 0; i < 4; ++i) sum += d[chain][i];
    sums[size_t(blockIdx.x) * blockDim.x + threadIdx.x] = sum;
}

/// Seconds of the fastest of some launches.
template <typename Launch>
double fastest(const char* what, Launch launch) {
    cudaEvent_t begin, end;
    check(cudaEventCreate(&begin), "cudaEventCreate");
    check(cudaEventCreate(&end), "cudaEventCreate");
    float best = 1e30f;
    for (int i = 0; i < kRepetitions; ++i) {
        check(cudaEventRecord(begin), "cudaEventRecord");
        launch();
        check(cudaGetLastError(), what);
        check(cudaEventRecord(end), "cudaEventRecord");
        check(cudaEventSynchronize(end), what);
        float milliseconds = 0;
        check(cudaEventElapsedTime(&milliseconds, begin, end), "cudaEventElapsedTime");
        best = std::min(best, milliseconds);
    }
    return double(best) / 1e3;
}

}  // namespace

int main(int argc, char** argv) {
    const int index = argc > 1 ? std::atoi(argv[1]) : 0;
    check(cudaSetDevice(index), "no such GPU");
    cudaDeviceProp device{};
    check(cudaGetDeviceProperties(&device, index), "cudaGetDeviceProperties");
    size_t n_free = 0, n_all = 0;
    check(cudaMemGetInfo(&n_free, &n_all), "cudaMemGetInfo");
    const size_t step = sizeof(uint4) * kThreads * kUnrolled;
    const size_t n_bytes = std::min(kMostBytes, n_free / 4) / step * step;
    uint4 *from = nullptr, *to = nullptr;
    check(cudaMalloc(&from, n_bytes), "cudaMalloc");
    check(cudaMalloc(&to, n_bytes), "cudaMalloc");
    check(cudaMemset(from, 1, n_bytes), "cudaMemset");
    check(cudaMemset(to, 0, n_bytes), "cudaMemset");

    const int n_groups = device.multiProcessorCount * 8;
    const size_t n = n_bytes / sizeof(uint4);
    const double read_seconds =
        fastest("reading", [&] { read<<<n_groups, kThreads>>>(from, reinterpret_cast<uint32_t*>(to), n); });
    const double copy_seconds = fastest("copying", [&] { copy<<<n_groups, kThreads>>>(from, to, n); });
    const double product_seconds =
        fastest("multiplying", [&] { multiply<<<n_groups, kThreads>>>(reinterpret_cast<float*>(to)); });
    const double n_operations = 2.0 * 16 * 8 * 16 * kProducts * n_groups * (kThreads / 32);
    std::printf("- reads: %.0f GB/s\n", double(n_bytes) / read_seconds / 1e9);
    std::printf("- copies: %.0f GB/s read and as much written, together %.0f GB/s\n",
                double(n_bytes) / copy_seconds / 1e9, 2 * double(n_bytes) / copy_seconds / 1e9);
    std::printf("- %s products by mma.sync: %.0f TFLOP/s\n", device.major >= 8 ? "bfloat16" : "float16",
                n_operations / product_seconds / 1e12);
}
