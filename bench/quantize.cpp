// The searches beside llama.cpp's, on the same matrices with the same importance, in one process.
//
//     bench_quantize GGML_LIBRARY MODEL.gguf                      errors and times, one tab-separated line
//     each bench_quantize GGML_LIBRARY MODEL.gguf SIDE TYPE IMPORTANCE one run for callgrind: ours or theirs;
//     0 or 1
//
// GGML_LIBRARY is libggml-base.so of a llama.cpp. MODEL is any GGUF file; its matrices are decoded to floats.
// Times are processor seconds of one thread, the least of several runs that take turns.
#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <random>
#include <string>
#include <vector>

#include "converters/quantize/quantize.h"
#include "format/decode.h"
#include "format/error.h"
#include "format/gguf.h"

namespace {

using namespace ingot;

constexpr TensorType kTypes[] = {TensorType::Q4_0,  TensorType::Q4_1,  TensorType::Q5_0,   TensorType::Q5_1,
                                 TensorType::Q8_0,  TensorType::Q2_K,  TensorType::Q3_K,   TensorType::Q4_K,
                                 TensorType::Q5_K,  TensorType::Q6_K,  TensorType::IQ4_NL, TensorType::IQ4_XS,
                                 TensorType::MXFP4, TensorType::TQ1_0, TensorType::TQ2_0};
constexpr uint64_t kCallgrindRows = 32;

struct Matrix {
    std::string set, name;
    uint64_t n_rows = 0, n_columns = 0;
    std::vector<float> values{};      // (n_rows, n_columns)
    std::vector<float> importance{};  // (n_columns,)
};

/// Mean squares of activations differ from column to column about as a log-normal distribution does.
std::vector<float> drawn_importance(uint64_t n_columns, uint32_t seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> importance(n_columns);
    for (float& value : importance) value = std::exp(normal(random));
    return importance;
}

template <typename Draw>
Matrix drawn(std::string set, uint64_t n_rows, uint64_t n_columns, Draw draw) {
    Matrix matrix{std::move(set), "", n_rows, n_columns};
    std::mt19937 random(11);
    std::normal_distribution<float> normal;
    for (uint64_t r = 0; r < n_rows; ++r)
        for (uint64_t c = 0; c < n_columns; ++c)
            matrix.values.push_back(draw(r, c, [&] { return normal(random); }));
    matrix.importance = drawn_importance(n_columns, 12);
    return matrix;
}

std::vector<Matrix> drawn_matrices() {
    constexpr uint64_t kRows = 128, kColumns = 1024;
    std::vector<Matrix> all;
    all.push_back(drawn("gaussian", kRows, kColumns, [](auto, auto, auto g) { return 0.02f * g(); }));
    // Student's t with three degrees of freedom.
    all.push_back(drawn("heavy tails", kRows, kColumns, [](auto, auto, auto g) {
        const float a = g(), b = g(), c = g();
        return 0.02f * g() / std::sqrt((a * a + b * b + c * c) / 3 + 1e-6f);
    }));
    all.push_back(drawn("outlier columns", kRows, kColumns, [](auto, uint64_t c, auto g) {
        return 0.02f * g() * (c % 131 == 17 ? 20.0f : 1.0f);
    }));
    // Rows and columns of trained matrices differ in size by factors of a few; here each has a factor whose
    // logarithm is a sum of sines, so that neighbours differ.
    all.push_back(drawn("row scales", kRows, kColumns, [](uint64_t r, uint64_t c, auto g) {
        const float row = std::sin(2.4f * float(r)) + std::sin(1.1f * float(r));
        const float column = std::sin(2.7f * float(c)) + std::sin(0.9f * float(c));
        return 0.02f * g() * std::exp(0.5f * row + 0.25f * column);
    }));
    return all;
}

std::vector<Matrix> model_matrices(const GgufFile& file) {
    std::vector<Matrix> all;
    for (const TensorInfo& tensor : file.header().tensors()) {
        if (tensor.n_dims != 2 || tensor.row_elements() % 256 != 0) continue;
        Matrix matrix{"model", std::string(tensor.name), tensor.n_rows(), tensor.row_elements()};
        matrix.values.resize(tensor.n_elements);
        decode_row(tensor.type, file.tensor_bytes(tensor).data(), matrix.values.data(), tensor.n_elements);
        matrix.importance = drawn_importance(matrix.n_columns, uint32_t(all.size()));
        all.push_back(std::move(matrix));
    }
    return all;
}

/// ggml_quantize_chunk(type, source, destination, first element, rows, elements of a row, importance)
using Chunk = size_t (*)(int, const float*, void*, int64_t, int64_t, int64_t, const float*);

Chunk load_peer(const char* path) {
    void* library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (!library) fail("{}", dlerror());
    void* function = dlsym(library, "ggml_quantize_chunk");
    if (!function) fail("{} has no ggml_quantize_chunk", path);
    return reinterpret_cast<Chunk>(function);
}

struct Job {
    const Matrix& matrix;
    TensorType type;
    bool weighted;
    Chunk peer;
    std::vector<std::byte> bytes = std::vector<std::byte>(matrix.n_rows * row_bytes(type, matrix.n_columns));

    std::span<const float> importance() const {
        return weighted ? std::span<const float>(matrix.importance) : std::span<const float>();
    }
};

// Callgrind counts what these two do.
[[gnu::noinline]] void quantize_ours(Job& job) {
    converters::quantize_rows(job.type, job.matrix.values, job.bytes, job.matrix.n_columns, job.importance());
}

[[gnu::noinline]] void quantize_theirs(Job& job) {
    job.peer(int(job.type), job.matrix.values.data(), job.bytes.data(), 0, int64_t(job.matrix.n_rows),
             int64_t(job.matrix.n_columns), job.weighted ? job.matrix.importance.data() : nullptr);
}

/// Mean squared errors: plain, and with a weight for each element.
struct Errors {
    double plain = 0, weighted = 0;
};

/// With importance, that is the weight; without, σ² + x² where σ² is the row's mean square.
Errors errors_of(const Job& job) {
    const Matrix& matrix = job.matrix;
    std::vector<float> decoded(matrix.values.size());
    decode_row(job.type, job.bytes.data(), decoded.data(), decoded.size());
    Errors errors;
    double total = 0;
    for (uint64_t r = 0; r < matrix.n_rows; ++r) {
        const float* x = matrix.values.data() + r * matrix.n_columns;
        const float* y = decoded.data() + r * matrix.n_columns;
        double squares = 0;
        for (uint64_t c = 0; c < matrix.n_columns; ++c) squares += double(x[c]) * x[c];
        for (uint64_t c = 0; c < matrix.n_columns; ++c) {
            const double weight = job.weighted ? matrix.importance[c]
                                               : squares / double(matrix.n_columns) + double(x[c]) * x[c];
            const double error = (double(x[c]) - y[c]) * (double(x[c]) - y[c]);
            errors.plain += error;
            errors.weighted += weight * error;
            total += weight;
        }
    }
    return {errors.plain / double(matrix.values.size()), errors.weighted / total};
}

double processor_seconds() {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return double(time.tv_sec) + 1e-9 * double(time.tv_nsec);
}

template <typename Work>
double seconds_of(Work work) {
    const double start = processor_seconds();
    work();
    return processor_seconds() - start;
}

void compare_errors(const Matrix& matrix, Chunk peer) {
    for (const TensorType type : kTypes)
        for (const bool weighted : {false, true}) {
            Job job{matrix, type, weighted, peer};
            quantize_ours(job);
            const Errors ours = errors_of(job);
            quantize_theirs(job);
            const Errors theirs = errors_of(job);
            fmt::print("error\t{}\t{}\t{}\t{:d}\t{}\t{}\t{}\t{}\n", matrix.set, matrix.name, name(type),
                       weighted, ours.plain, ours.weighted, theirs.plain, theirs.weighted);
        }
}

void compare_times(const Matrix& matrix, Chunk peer) {
    constexpr int kRuns = 5;
    for (const TensorType type : kTypes)
        for (const bool weighted : {false, true}) {
            Job job{matrix, type, weighted, peer};
            double ours = INFINITY, theirs = INFINITY;
            for (int run = 0; run < kRuns; ++run) {
                ours = std::min(ours, seconds_of([&] { quantize_ours(job); }));
                theirs = std::min(theirs, seconds_of([&] { quantize_theirs(job); }));
            }
            const double weights = double(matrix.values.size());
            fmt::print("time\t{}\t{:d}\t{}\t{}\n", name(type), weighted, 1e9 * ours / weights,
                       1e9 * theirs / weights);
        }
}

int run(int n_arguments, char** arguments) {
    if (n_arguments != 3 && n_arguments != 6)
        fail("usage: bench_quantize GGML_LIBRARY MODEL.gguf [ours|theirs TYPE 0|1]");
    const Chunk peer = load_peer(arguments[1]);
    const auto normal = [](auto, auto, auto g) { return 0.02f * g(); };
    if (n_arguments == 6) {
        const Matrix matrix = drawn("gaussian", kCallgrindRows, 1024, normal);
        const auto type = parse_tensor_type(arguments[4]);
        if (!type) fail("no type {}", arguments[4]);
        Job job{matrix, *type, arguments[5] == std::string("1"), peer};
        arguments[3] == std::string("ours") ? quantize_ours(job) : quantize_theirs(job);
        return 0;
    }
    for (const Matrix& matrix : drawn_matrices()) compare_errors(matrix, peer);
    const GgufFile file(arguments[2]);
    for (const Matrix& matrix : model_matrices(file)) compare_errors(matrix, peer);
    compare_times(drawn("gaussian", 256, 1024, normal), peer);
    return 0;
}

}  // namespace

int main(int n_arguments, char** arguments) {
    try {
        return run(n_arguments, arguments);
    } catch (const std::exception& error) {
        fmt::print(stderr, "{}\n", error.what());
        return 1;
    }
}
