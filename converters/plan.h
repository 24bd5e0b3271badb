#pragma once
// What a conversion will do, decided before the first byte moves: every name, shape, type and offset, and
// everything that is in the way.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "converters/findings.h"
#include "converters/request.h"
#include "converters/rows/tensor_rows.h"
#include "converters/sources/checkpoint.h"
#include "format/gguf_writer.h"
#include "format/imatrix.h"

namespace ingot::converters {

/// Where the values of one tensor come from, and which file they go to. Name, type, shape and offset are in
/// that file's layout: see ConversionPlan::target().
struct TensorSource {
    RowsPtr rows;
    std::string fallback_reason;  // why it has not the type that the recipe wanted; else empty
    uint32_t file = 0;            // into ConversionPlan::files
    bool is_free = false;         // weights whose type the recipe decides, and no rule of the user's
    const ImportanceEntry* importance = nullptr;  // of its columns; or null
};

/// One file to be written: consecutive tensors, from `first_tensor` on.
struct PlannedFile {
    GgufLayout layout;
    size_t first_tensor = 0;
};

/// Usable when `findings` has no problem; otherwise as much of it as could be made.
struct ConversionPlan {
    ConvertRequest request;
    Findings findings;
    std::unique_ptr<Checkpoint> checkpoint;  // owns what `tensors` read from; null without weights
    std::vector<std::shared_ptr<const Checkpoint>> adapters;  // own what was merged in
    std::shared_ptr<const ImportanceMatrix> importance;       // all of them added up, or null
    std::string family;        // "Llama": the rules that applied; empty for a GGUF
    std::string architecture;  // general.architecture
    std::string source_form;   // "safetensors, 2 files, BF16"
    std::string model_name;    // "Tolstoy-5M": the file's default name, but for the encoding
    std::vector<TensorSource> tensors;
    std::vector<PlannedFile> files;     // more than one when the output is split
    uint64_t source_bytes = 0;          // of the tensors that are read
    uint64_t n_elements = 0;            // of the tensors that are written
    std::vector<std::string> left_out;  // source tensors that are not needed

    const std::string& source() const { return request.source; }
    const Recipe& recipe() const { return *request.recipe; }
    /// "Q4_K_M", or what a mix that was chosen for a target is called.
    std::string mix_name() const;
    const TensorPlan& target(size_t tensor) const;
    const Metadata& metadata() const { return files.at(0).layout.metadata(); }
    uint64_t output_bytes() const;  // of all files
    double bits_per_weight() const;
    std::vector<const MappedFile*> source_files() const;  // of the checkpoint and of the adapters

    /// Sets a key of the first file's metadata and lays out anew. Before anything is written only.
    void set_metadata(const std::string& key, MetadataValue value);
    /// Cuts `targets`, which stand for `tensors`, into files. Called once by the planners.
    void lay_out(Metadata metadata, std::vector<TensorPlan> targets);
};

/// Plans what the request asks for. Throws Error only when there is nothing to look at (no such file); all
/// else that is wrong becomes findings.
ConversionPlan plan_conversion(const ConvertRequest& request);

/// A Hugging Face folder, or a GGUF file to be re-encoded, planned or refused: throws Error with all that is
/// wrong.
ConversionPlan plan_checkpoint(const std::string& folder, const Recipe& recipe);
ConversionPlan plan_gguf(const std::string& path, const Recipe& recipe, bool allow_requantize);

/// "Tolstoy-5M-Q4_K_M.gguf"
std::string default_output_name(const ConversionPlan& plan);
/// The names of all files: `output` itself, or of shards as other programs name them,
/// "model-00001-of-00003.gguf".
std::vector<std::string> output_paths(const ConversionPlan& plan, const std::string& output);
/// Whether `path`, an output that exists, was left by a process of this very conversion that ended while its
/// files took their names: the first does so last and is missing, and `path` has the header that file
/// `number` of the plan gets.
bool is_left_over(const ConversionPlan& plan, const std::vector<std::string>& paths, size_t number);

/// What writing takes of the disk that the output goes to.
struct DiskSpace {
    uint64_t needed_bytes = 0;                // all files, without what unfinished ones have already
    std::optional<uint64_t> available_bytes;  // nothing where the system does not say
};
DiskSpace disk_space(const ConversionPlan& plan, const std::string& output);
/// Finds what would make the writing fail: the output is one of the sources, it exists already, its folder is
/// missing, or the disk is too full.
void check_output(const ConversionPlan& plan, const std::string& output, bool overwrite, Findings& findings);
/// The same; throws Error with all that was found.
void check_output(const ConversionPlan& plan, const std::string& output, bool overwrite);

}  // namespace ingot::converters
