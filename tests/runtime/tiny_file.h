// A model of the tiny shape with random weights, and what tests of the forward pass do with it.
#pragma once
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <span>
#include <vector>

#include "runtime/backend.h"
#include "runtime/synthetic.h"
#include "tests/catch.h"

namespace ingot::runtime {

using Tensors = std::vector<TensorPlan>;

/// The file in the temporary folder, removed at the end. Its matrices have one type; heads have 64 elements.
class TinyFile {
  public:
    explicit TinyFile(
        TensorType type, const std::function<void(Tensors&)>& edit = [](Tensors&) {}) {
        Tensors tensors = synthetic_tensors(*find_synthetic_shape("llama-tiny"));
        for (TensorPlan& tensor : tensors) {
            if (tensor.shape.size() > 1) tensor.type = type;
        }
        edit(tensors);
        static int n_files = 0;
        path_ = std::filesystem::temp_directory_path() /
                fmt::format("ingot-test-{}-{}.gguf", ::getpid(), n_files++);
        REQUIRE(write_synthetic(*find_synthetic_shape("llama-tiny"), tensors, 0, path_, true, 1));
    }
    ~TinyFile() { std::filesystem::remove(path_); }
    TinyFile(const TinyFile&) = delete;
    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

inline std::vector<Token> some_tokens(size_t n) {
    std::vector<Token> tokens(n);
    for (size_t i = 0; i < n; ++i) tokens[i] = Token(3 + i * 37 % 1000);
    return tokens;
}

/// Root mean square of the difference, in units of the logits' own.
inline double difference(std::span<const float> logits, std::span<const float> expected) {
    REQUIRE(logits.size() == expected.size());
    double differences = 0, squares = 0;
    for (size_t i = 0; i < logits.size(); ++i) {
        REQUIRE(std::isfinite(logits[i]));
        const double miss = double(logits[i]) - double(expected[i]);
        differences += miss * miss;
        squares += double(expected[i]) * double(expected[i]);
    }
    return std::sqrt(differences / squares);
}

}  // namespace ingot::runtime
