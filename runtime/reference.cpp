#include "runtime/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "format/error.h"
#include "format/ingot_keys.h"

namespace ingot::runtime {
namespace {

constexpr std::string_view kType = "ingot.reference";  // of general.type
// Tensors, in the file's order.
enum Tensor : size_t { kTokens, kTopTokens, kLogLikelihoods, kRests, kNegatives };
constexpr const char* kNames[] = {"tokens", "top_tokens", "top_log_likelihoods", "rest_log_likelihood",
                                  "negative_log_likelihood"};

GgufLayout layout_of(const ReferenceInfo& info, std::span<const Token> tokens) {
    const int64_t n_chunks = int64_t(tokens.size()) / info.n_context;
    const uint64_t n = uint64_t(n_scored_positions(n_chunks, info.n_context)), k = uint64_t(info.top_k);
    Metadata metadata;
    metadata.set("general.type", kType);
    metadata.set(std::string(keys::kVersion), INGOT_VERSION);
    metadata.set(std::string(keys::kReferenceModel), MetadataValue(info.model));
    metadata.set(std::string(keys::kReferenceText), MetadataValue(info.text));
    metadata.set(std::string(keys::kReferenceVocabulary), uint32_t(info.n_vocab));
    metadata.set(std::string(keys::kReferenceContext), uint32_t(info.n_context));
    if (info.bos) metadata.set(std::string(keys::kReferenceBos), uint32_t(*info.bos));
    std::vector<TensorPlan> tensors{{kNames[kTokens], TensorType::I32, {tokens.size()}},
                                    {kNames[kTopTokens], TensorType::I32, {k, n}},
                                    {kNames[kLogLikelihoods], TensorType::F32, {k, n}},
                                    {kNames[kRests], TensorType::F32, {n}},
                                    {kNames[kNegatives], TensorType::F32, {n}}};
    return GgufLayout(std::move(metadata), std::move(tensors));
}

}  // namespace

int64_t n_scored_positions(int64_t n_chunks, int64_t n_context) {
    return n_chunks * (n_context - 1 - n_context / 2);
}

// ---- writing ---------------------------------------------------------------------------------------------

ReferenceWriter::ReferenceWriter(const std::filesystem::path& path, const ReferenceInfo& info,
                                 std::span<const Token> tokens, bool overwrite)
    : info_(info),
      layout_(layout_of(info, tokens)),
      file_(path, layout_.file_size_bytes(), overwrite),
      n_positions_(n_scored_positions(int64_t(tokens.size()) / info.n_context, info.n_context)) {
    file_.write_at(0, layout_.encode_header());
    write(kTokens, 0, std::as_bytes(tokens));
}

void ReferenceWriter::add(std::span<const float> logits, Token next) {
    if (n_added_ == n_positions_) fail("more positions than the text has: {}", n_positions_);
    const size_t k = size_t(info_.top_k);
    ranking_.resize(logits.size());
    std::iota(ranking_.begin(), ranking_.end(), 0);
    const auto before = [&](Token a, Token b) {  // of equals the one that comes first
        const float x = logits[size_t(a)], y = logits[size_t(b)];
        return x > y || (x == y && a < b);
    };
    if (k < ranking_.size())
        std::nth_element(ranking_.begin(), ranking_.begin() + long(k), ranking_.end(), before);
    std::sort(ranking_.begin(), ranking_.begin() + long(k), before);

    const double largest = double(logits[size_t(ranking_[0])]);
    double top = 0, rest = 0;
    for (size_t i = 0; i < ranking_.size(); ++i)
        (i < k ? top : rest) += std::exp(double(logits[size_t(ranking_[i])]) - largest);
    if (!std::isfinite(top + rest)) fail("position {}: the model's logits are no numbers", n_added_);
    const double log_sum = largest + std::log(top + rest);
    for (size_t i = 0; i < k; ++i) {
        tokens_.push_back(ranking_[i]);
        log_likelihoods_.push_back(float(double(logits[size_t(ranking_[i])]) - log_sum));
    }
    rests_.push_back(float(std::log(rest) - std::log(top + rest)));
    negatives_.push_back(float(log_sum - double(logits[size_t(next)])));
    ++n_added_;
    constexpr size_t kBuffered = 1 << 18;  // tokens
    if (tokens_.size() >= kBuffered) flush();
}

void ReferenceWriter::commit() {
    if (n_added_ != n_positions_) fail("{} of {} positions were added", n_added_, n_positions_);
    flush();
    file_.commit();
}

void ReferenceWriter::flush() {
    write(kTopTokens, n_written_, std::as_bytes(std::span(tokens_)));
    write(kLogLikelihoods, n_written_, std::as_bytes(std::span(log_likelihoods_)));
    write(kRests, n_written_, std::as_bytes(std::span(rests_)));
    write(kNegatives, n_written_, std::as_bytes(std::span(negatives_)));
    n_written_ = n_added_;
    tokens_.clear();
    for (auto* values : {&log_likelihoods_, &rests_, &negatives_}) values->clear();
}

void ReferenceWriter::write(size_t tensor, int64_t first_row, std::span<const std::byte> bytes) {
    const TensorPlan& plan = layout_.tensors()[tensor];
    const uint64_t row_bytes = plan.shape.size() > 1 ? plan.shape[0] * sizeof(float) : sizeof(float);
    file_.write_at(plan.offset + uint64_t(first_row) * row_bytes, bytes);
}

// ---- reading ---------------------------------------------------------------------------------------------

Reference::Reference(const std::filesystem::path& path) : file_(path) {
    try {
        read();
    } catch (const Error& error) {
        fail("{}: {}", path.string(), error.what());
    }
}

template <typename T>
std::span<const T> Reference::view(const char* name, TensorType type, std::array<uint64_t, 2> shape) const {
    const TensorInfo* tensor = file_.header().find_tensor(name);
    if (!tensor) fail("tensor {} is missing", name);
    if (tensor->type != type || tensor->shape[0] != shape[0] || tensor->shape[1] != shape[1] ||
        tensor->n_elements != shape[0] * shape[1]) {
        fail("tensor {}: is {} of {} × {}; expected {} of {} × {}", name, ingot::name(tensor->type),
             tensor->shape[0], tensor->shape[1], ingot::name(type), shape[0], shape[1]);
    }
    // The mapping begins at a page, and offsets are multiples of 8 bytes at least.
    return {reinterpret_cast<const T*>(file_.tensor_bytes(*tensor).data()), size_t(tensor->n_elements)};
}

void Reference::read() {
    const GgufHeader& header = file_.header();
    const std::string_view type = header.get_string("general.type").value_or("");
    if (type != kType)
        fail("general.type is \"{}\"; expected \"{}\", which --save-reference writes", printable(type),
             kType);
    const auto number = [&](std::string_view key, uint64_t least) {
        const uint64_t value = header.require_uint(key);
        if (value < least || value > INT32_MAX) fail("key {}: is {}", key, value);
        return int64_t(value);
    };
    info_.model = header.get_string(keys::kReferenceModel).value_or("");
    info_.text = header.get_string(keys::kReferenceText).value_or("");
    info_.n_vocab = number(keys::kReferenceVocabulary, 1);
    info_.n_context = number(keys::kReferenceContext, 4);
    if (header.find(keys::kReferenceBos)) info_.bos = Token(number(keys::kReferenceBos, 0));

    const TensorInfo* tokens = header.find_tensor(kNames[kTokens]);
    const TensorInfo* top = header.find_tensor(kNames[kTopTokens]);
    if (!tokens || !top) fail("tensor {} is missing", kNames[tokens ? kTopTokens : kTokens]);
    const uint64_t n_tokens = tokens->n_elements, k = top->shape[0];
    if (n_tokens == 0 || n_tokens % uint64_t(info_.n_context) != 0)
        fail("{} tokens are no whole number of chunks of {}", n_tokens, info_.n_context);
    if (k == 0 || k > uint64_t(info_.n_vocab))
        fail("{} tokens are kept for a position; expected 1 to {}", k, info_.n_vocab);
    info_.top_k = int64_t(k);
    const uint64_t n =
        uint64_t(n_scored_positions(int64_t(n_tokens / uint64_t(info_.n_context)), info_.n_context));
    tokens_ = view<Token>(kNames[kTokens], TensorType::I32, {n_tokens, 1});
    top_tokens_ = view<Token>(kNames[kTopTokens], TensorType::I32, {k, n});
    log_likelihoods_ = view<float>(kNames[kLogLikelihoods], TensorType::F32, {k, n});
    rests_ = view<float>(kNames[kRests], TensorType::F32, {n, 1});
    negatives_ = view<float>(kNames[kNegatives], TensorType::F32, {n, 1});

    const auto check_tokens = [&](std::span<const Token> ids, const char* name) {
        for (const Token id : ids)
            if (id < 0 || id >= info_.n_vocab)
                fail("tensor {}: token {} is outside the vocabulary of {}", name, id, info_.n_vocab);
    };
    check_tokens(tokens_, kNames[kTokens]);
    check_tokens(top_tokens_, kNames[kTopTokens]);
    if (info_.bos) check_tokens(std::span(&*info_.bos, 1), "bos");
    constexpr float kRoundedUp = 1e-3f;  // the logarithm of 1
    const auto check_logs = [&](std::span<const float> logs, const char* name, float least) {
        for (const float value : logs)
            if (!(value >= least && value <= kRoundedUp))
                fail("tensor {}: {} is no logarithm of a probability", name, value);
    };
    check_logs(log_likelihoods_, kNames[kLogLikelihoods], -std::numeric_limits<float>::max());
    check_logs(rests_, kNames[kRests], -std::numeric_limits<float>::infinity());
    for (const float value : negatives_)
        if (!(value >= -kRoundedUp && value <= std::numeric_limits<float>::max()))
            fail("tensor {}: {} is no logarithm of a probability", kNames[kNegatives], value);
}

ReferencePosition Reference::operator[](int64_t position) const {
    const size_t at = size_t(position), k = size_t(info_.top_k);
    return {top_tokens_.subspan(at * k, k), log_likelihoods_.subspan(at * k, k), rests_[at], negatives_[at]};
}

}  // namespace ingot::runtime
