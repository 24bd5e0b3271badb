#include "converters/model_name.h"

#include "tests/catch.h"

using namespace ingot::converters;

TEST_CASE("A folder's name becomes a model's name and the stem of its file") {
    const auto stem = [](const char* folder) { return model_name(folder, 5'246'208).file_stem; };
    CHECK(stem("tests/data/tolstoy-5m") == "Tolstoy-5M");
    CHECK(stem("tests/data/tolstoy-5m/") == "Tolstoy-5M");
    CHECK(stem("/models/Llama-3.2-1B-Instruct") == "Llama-3.2-1B-Instruct");
    CHECK(stem("mixtral-8x7b-v0.1") == "Mixtral-8x7B-v0.1");
    CHECK(stem("my model") == "My-Model-5.2M");
    CHECK(stem("/hub/models--Qwen--Qwen2.5-0.5B/snapshots/060db6499f32faf8b98477b0a26969ef7d8b9987") ==
          "Qwen2.5-0.5B");
    CHECK(model_name("tolstoy-5m", 1).display == "Tolstoy 5M");
    CHECK(model_name("tolstoy-5m", 1).size_label == "5M");
    CHECK(model_name("/models/gpt", 124'439'808).size_label == "124M");
}

TEST_CASE("Size labels have two digits or more") {
    CHECK(size_label(5'246'208) == "5.2M");
    CHECK(size_label(1'100'048'384) == "1.1B");
    CHECK(size_label(494'032'768) == "494M");
    CHECK(size_label(70'553'706'496) == "71B");
    CHECK(size_label(1'000'000'000'001) == "1.0T");
    CHECK(size_label(512) == "0.5K");
}
