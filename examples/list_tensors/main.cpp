// The tensors of a GGUF file, by Ingot's format library alone: list_tensors FILE
#include <cstdio>
#include <exception>

#include "format/gguf_model.h"

int main(int argc, char** argv) try {
    if (argc != 2) return std::fputs("usage: list_tensors FILE\n", stderr), 2;
    const ingot::GgufModel model(argv[1]);  // one file or all shards, mapped and checked
    const ingot::GgufHeader& header = model.header();
    if (const auto name = header.get_string("general.name"))
        std::printf("%.*s\n", int(name->size()), name->data());
    for (const ingot::TensorInfo& tensor : header.tensors()) {
        const std::string_view type = ingot::name(tensor.type);
        std::printf("%-40.*s %-8.*s %12llu bytes, the first of them %02x\n", int(tensor.name.size()),
                    tensor.name.data(), int(type.size()), type.data(), (unsigned long long)tensor.size_bytes,
                    tensor.size_bytes ? unsigned(model.tensor_bytes(tensor)[0]) : 0);
    }
} catch (const std::exception& error) {
    return std::fprintf(stderr, "%s\n", error.what()), 1;
}
