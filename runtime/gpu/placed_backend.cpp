#include "runtime/gpu/placed_backend.h"

#include <algorithm>

#include "format/error.h"
#include "runtime/model.h"

namespace ingot::runtime {
namespace {

size_t floats_bytes(int64_t n) {
    return size_t(n) * sizeof(float);
}

}  // namespace

/// Memory on some devices, and how many bytes from its beginning are up to date on each. A view has none of
/// its own: it is a part of its parent's.
struct PlacedBackend::PlacedBuffer final : Buffer {
    PlacedBuffer(PlacedBackend& of, size_t n_bytes)
        : Buffer(n_bytes),
          backend(of),
          kind(of.tensor_.empty()               ? Kind::Buffer
               : of.tensor_.ends_with(".cache") ? Kind::Cache
                                                : Kind::Weight),
          part(Model::part_of(of.tensor_)),
          memory(of.devices_.size()),
          valid(memory.size()) {}
    PlacedBuffer(PlacedBuffer& of, size_t offset_bytes, size_t n_bytes) : PlacedBuffer(of.backend, n_bytes) {
        parent = &of;
        offset = offset_bytes;
    }
    ~PlacedBuffer() override {
        for (size_t i = 0; i < memory.size(); ++i) {
            if (memory[i] && parent == nullptr) backend.counter(i, *this) -= size_bytes();
        }
    }
    PlacedBuffer(const PlacedBuffer&) = delete;

    PlacedBackend& backend;
    Kind kind;
    int64_t part;  // of the model
    PlacedBuffer* parent = nullptr;
    size_t offset = 0;  // bytes, in the parent
    std::vector<std::unique_ptr<Buffer>> memory;
    std::vector<size_t> valid;
};

struct PlacedBackend::PlacedWeight final : Weight {
    PlacedWeight(PlacedBackend& backend, std::unique_ptr<Weight> weight)
        : Weight(weight->type(), weight->n_in(), weight->n_out()),
          device(backend.current_),
          inner(std::move(weight)),
          counter(backend.usage_[device][Model::part_of(backend.tensor_)].weights) {
        counter += inner->size_bytes();
    }
    ~PlacedWeight() override { counter -= inner->size_bytes(); }
    PlacedWeight(const PlacedWeight&) = delete;
    uint64_t size_bytes() const override { return inner->size_bytes(); }

    size_t device;
    std::unique_ptr<Weight> inner;
    uint64_t& counter;  // which a map keeps in its place
};

PlacedBackend::PlacedBackend(std::vector<std::unique_ptr<Backend>> devices, Place place, TypeOf type_of)
    : devices_(std::move(devices)),
      place_(std::move(place)),
      type_of_(std::move(type_of)),
      usage_(devices_.size()),
      read_bytes_(devices_.size()) {}

PlacedBackend::~PlacedBackend() = default;

std::string PlacedBackend::description() const {
    std::string all;
    for (const auto& device : devices_) all += (all.empty() ? "" : " + ") + device->description();
    return all;
}

bool PlacedBackend::has_cache_type(CacheType type) const {
    return std::ranges::all_of(devices_, [&](const auto& device) { return device->has_cache_type(type); });
}

PlacedBackend::Usage PlacedBackend::usage(size_t device) const {
    Usage sum;
    for (const auto& [part, usage] : usage_[device]) {
        sum.weights += usage.weights;
        sum.cache += usage.cache;
        sum.buffers += usage.buffers;
    }
    return sum;
}

// --- where things are ---

void PlacedBackend::begin_tensor(std::string_view name) {
    tensor_ = name;
    if (!name.empty()) current_ = place_(name);
}

PlacedBackend::PlacedBuffer& PlacedBackend::placed(const Buffer& buffer) {
    return const_cast<PlacedBuffer&>(static_cast<const PlacedBuffer&>(buffer));
}

uint64_t& PlacedBackend::counter(size_t device, const PlacedBuffer& buffer) {
    Usage& usage = usage_[device][buffer.part];
    return buffer.kind == Kind::Weight  ? usage.weights
           : buffer.kind == Kind::Cache ? usage.cache
                                        : usage.buffers;
}

Buffer& PlacedBackend::memory(PlacedBuffer& buffer) {
    std::unique_ptr<Buffer>& memory = buffer.memory[current_];
    if (!memory) {
        memory = here().allocate(buffer.size_bytes());
        counter(current_, buffer) += buffer.size_bytes();
    }
    return *memory;
}

// The device where most of it is up to date: this one, if it is among them.
size_t PlacedBackend::newest(const PlacedBuffer& buffer) const {
    const size_t device = size_t(std::ranges::max_element(buffer.valid) - buffer.valid.begin());
    return buffer.valid[current_] == buffer.valid[device] ? current_ : device;
}

// The first n_bytes, or as many as there are anywhere, to the current device.
void PlacedBackend::bring(PlacedBuffer& buffer, size_t n_bytes) {
    Buffer& to = memory(buffer);
    if (buffer.valid[current_] >= n_bytes) return;
    const size_t from = newest(buffer);
    const size_t n = std::min(n_bytes, buffer.valid[from]);
    if (n <= buffer.valid[current_]) return;
    staging_.resize(n);
    devices_[from]->download(*buffer.memory[from], staging_);
    here().upload(staging_, to);
    buffer.valid[current_] = n;
    ++n_copies_;
}

// The part of the parent's memory on the current device.
Buffer& PlacedBackend::view_of(PlacedBuffer& view, Buffer& parent) {
    std::unique_ptr<Buffer>& memory = view.memory[current_];
    if (!memory) memory = here().view(parent, view.offset, view.size_bytes());
    return *memory;
}

const Buffer& PlacedBackend::read(const Buffer& buffer, size_t n_bytes) {
    if (PlacedBuffer& view = placed(buffer); view.parent != nullptr) {
        read(*view.parent, view.offset + n_bytes);
        return view_of(view, memory(*view.parent));
    }
    bring(placed(buffer), n_bytes);
    return memory(placed(buffer));
}

const Buffer& PlacedBackend::read_all(const Buffer& buffer) {
    return read(buffer, buffer.size_bytes());
}

const Buffer* PlacedBackend::read_or_null(const Buffer* buffer) {
    return buffer != nullptr ? &read_all(*buffer) : nullptr;
}

Buffer& PlacedBackend::write(Buffer& buffer, size_t n_bytes) {
    PlacedBuffer& of = placed(buffer);
    if (of.parent != nullptr) return view_of(of, change(*of.parent));  // the rest of the parent stays
    Buffer& to = memory(of);
    const size_t n_before = of.valid[current_];
    std::ranges::fill(of.valid, 0);
    of.valid[current_] = std::max(n_before, n_bytes);
    return to;
}

Buffer& PlacedBackend::change(Buffer& buffer) {
    PlacedBuffer& of = placed(buffer);
    if (of.parent != nullptr) return view_of(of, change(*of.parent));
    bring(of, of.size_bytes());
    std::ranges::fill(of.valid, 0);
    of.valid[current_] = of.size_bytes();
    return memory(of);
}

// --- memory ---

std::unique_ptr<Weight> PlacedBackend::load_weight(TensorType type, int64_t n_in, int64_t n_out,
                                                   std::span<const std::byte> bytes) {
    if (type_of_) type = type_of_(tensor_, type);
    return std::make_unique<PlacedWeight>(*this, here().load_weight(type, n_in, n_out, bytes));
}

std::unique_ptr<Buffer> PlacedBackend::allocate(size_t size_bytes) {
    return std::make_unique<PlacedBuffer>(*this, size_bytes);
}

std::unique_ptr<Buffer> PlacedBackend::view(Buffer& buffer, size_t offset_bytes, size_t size_bytes) {
    return std::make_unique<PlacedBuffer>(placed(buffer), offset_bytes, size_bytes);
}

void PlacedBackend::upload(std::span<const std::byte> source, Buffer& destination) {
    here().upload(source, write(destination, source.size()));
}

void PlacedBackend::download(const Buffer& source, std::span<std::byte> destination) {
    const PlacedBuffer& of = placed(source);
    if (of.parent != nullptr) {  // by way of this device, whichever it is
        const Buffer& part = read(source, destination.size());
        return here().download(part, destination);
    }
    const size_t from = newest(of);
    if (of.memory[from]) devices_[from]->download(*of.memory[from], destination);
}

void PlacedBackend::largest(const Buffer& x, int64_t n_rows, int64_t n, int64_t k,
                            std::span<TokenLogit> found) {
    current_ = newest(placed(x));
    here().largest(read(x, floats_bytes(n_rows * n)), n_rows, n, k, found);
}

// --- rows ---

void PlacedBackend::embed_rows(const Weight& table, std::span<const Token> tokens, Buffer& y) {
    const auto& weight = static_cast<const PlacedWeight&>(table);
    current_ = weight.device;
    here().embed_rows(*weight.inner, tokens, write(y, floats_bytes(int64_t(tokens.size()) * table.n_in())));
}

void PlacedBackend::copy_rows(const Buffer& x, std::span<const int32_t> rows, int64_t n, Buffer& y) {
    if (rows.empty()) return;
    const int64_t n_read = (int64_t(std::ranges::max(rows)) + 1) * n;
    const Buffer& from = read(x, floats_bytes(n_read));
    here().copy_rows(from, rows, n, write(y, floats_bytes(int64_t(rows.size()) * n)));
}

void PlacedBackend::copy_columns(const Buffer& x, Columns from, int64_t n_rows, int64_t n, Buffer& y,
                                 Columns to) {
    if (n_rows == 0) return;
    if (placed(x).parent == nullptr) current_ = newest(placed(x));  // where a cache's copy is best, too
    const Buffer& source = read(x, floats_bytes((n_rows - 1) * from.stride + from.first + n));
    const bool dense = to.stride == n && to.first == 0;
    here().copy_columns(source, from, n_rows, n, dense ? write(y, floats_bytes(n_rows * n)) : change(y), to);
}

// --- arithmetic ---

// multiply(projections on the current device), for each device that has any of their weights; which reads
// n_read matrices of n_experts in each.
template <typename Multiply>
void PlacedBackend::each_device(std::span<const Projection> projections, int64_t n_rows, int64_t n_experts,
                                int64_t n_read, Multiply multiply) {
    const auto weight = [](const Projection& projection) -> const PlacedWeight& {
        return static_cast<const PlacedWeight&>(*projection.weight);
    };
    for (size_t device = 0; device < devices_.size(); ++device) {
        std::vector<Projection> there;
        for (const Projection& projection : projections) {
            if (weight(projection).device != device) continue;
            current_ = device;
            const int64_t n_out = projection.weight->n_out() / n_experts;
            read_bytes_[device] += projection.weight->size_bytes() / uint64_t(n_experts) * uint64_t(n_read);
            there.push_back({weight(projection).inner.get(), read_or_null(projection.bias),
                             &write(*projection.output, floats_bytes(n_rows * n_out))});
        }
        if (!there.empty()) multiply(there);
    }
}

void PlacedBackend::matmul(const Buffer& x, int64_t n_tokens, std::span<const Projection> projections) {
    each_device(projections, n_tokens, 1, 1, [&](std::span<const Projection> there) {
        here().matmul(read(x, floats_bytes(n_tokens * there[0].weight->n_in())), n_tokens, there);
    });
}

void PlacedBackend::matmul_experts(const Buffer& x, bool x_has_slots, int64_t n_tokens,
                                   const ExpertChoice& choice, std::span<const Projection> projections) {
    const int64_t n_slots = n_tokens * choice.n_used;
    const int64_t n_read = std::min(n_slots, choice.n_experts);  // at most: no two tokens chose the same
    each_device(projections, n_slots, choice.n_experts, n_read, [&](std::span<const Projection> there) {
        const int64_t n_rows = x_has_slots ? n_slots : n_tokens;
        const Buffer& input = read(x, floats_bytes(n_rows * there[0].weight->n_in()));
        ExpertChoice chosen = choice;
        chosen.experts = &read(*choice.experts, size_t(n_slots) * sizeof(int32_t));
        here().matmul_experts(input, x_has_slots, n_tokens, chosen, there);
    });
}

void PlacedBackend::norm(const Norm& norm, const Buffer& x, int64_t n_rows, Buffer& y) {
    if (n_rows == 0) return;
    current_ = newest(placed(*norm.weight));  // where its layer is: rows pass a border before the norm
    Norm there = norm;
    there.weight = &read_all(*norm.weight);
    there.bias = read_or_null(norm.bias);
    const bool dense = norm.stride == 0 || norm.stride == norm.n;
    const size_t n_bytes = floats_bytes(dense ? n_rows * norm.n : (n_rows - 1) * norm.stride + norm.n);
    const Buffer& from = read(x, n_bytes);
    here().norm(there, from, n_rows, dense ? write(y, n_bytes) : change(y));
}

void PlacedBackend::activate(Activation activation, const Buffer& gate, const Buffer* up, int64_t n,
                             Buffer& y) {
    const Buffer& from = read(gate, floats_bytes(n));
    const Buffer* factor = up != nullptr ? &read(*up, floats_bytes(n)) : nullptr;
    here().activate(activation, from, factor, n, write(y, floats_bytes(n)));
}

void PlacedBackend::map(Elementwise function, float value, int64_t n, Buffer& x) {
    read(x, floats_bytes(n));
    here().map(function, value, n, write(x, floats_bytes(n)));
}

void PlacedBackend::scale_rows(const Buffer& x, const Buffer& scales, int64_t n_rows, int64_t n,
                               int64_t n_repeats, Buffer& y) {
    const Buffer& from = read(x, floats_bytes(n_rows / n_repeats * n));
    const Buffer& factors = read(scales, floats_bytes(n_rows));
    here().scale_rows(from, factors, n_rows, n, n_repeats, write(y, floats_bytes(n_rows * n)));
}

void PlacedBackend::add(const Buffer& x, int64_t n, Buffer& y) {
    const Buffer& from = read(x, floats_bytes(n));
    read(y, floats_bytes(n));
    here().add(from, n, write(y, floats_bytes(n)));
}

// --- attention ---

void PlacedBackend::rope(const Rope& rope, std::span<const int32_t> positions, int64_t n_heads,
                         int64_t head_dim, Buffer& x) {
    Rope there = rope;
    there.frequencies = &read_all(*rope.frequencies);
    const size_t n_bytes = floats_bytes(int64_t(positions.size()) * n_heads * head_dim);
    read(x, n_bytes);
    here().rope(there, positions, n_heads, head_dim, write(x, n_bytes));
}

void PlacedBackend::write_cache(const Buffer& x, std::span<const int32_t> positions, int64_t n,
                                CacheType type, Buffer& cache) {
    const Buffer& from = read(x, floats_bytes(int64_t(positions.size()) * n));
    here().write_cache(from, positions, n, type, change(cache));
}

void PlacedBackend::attention(const Buffer& q, const KvLayer& cache, std::span<const int32_t> positions,
                              const HeadGeometry& heads, Buffer& y) {
    const int64_t n_rows = int64_t(positions.size()) * heads.n_heads;
    const Buffer& queries = read(q, floats_bytes(n_rows * heads.key_dim));
    const int64_t width = cache.key_stride + (cache.values != cache.keys ? cache.value_stride : 0);
    const int64_t n_seen = int64_t(positions.back()) + 1;
    const int64_t n_looked_at = heads.window != 0 ? std::min(heads.window, n_seen) : n_seen;
    read_bytes_[current_] += uint64_t(n_looked_at * cache_bytes(cache.type, width));
    KvLayer there = cache;
    there.keys = const_cast<Buffer*>(&read_all(*cache.keys));
    there.values = const_cast<Buffer*>(&read_all(*cache.values));
    HeadGeometry geometry = heads;
    geometry.slopes = read_or_null(heads.slopes);
    geometry.sinks = read_or_null(heads.sinks);
    here().attention(queries, there, positions, geometry, write(y, floats_bytes(n_rows * heads.value_dim)));
}

// --- recurrent layers ---

void PlacedBackend::convolve(const Buffer& x, const Buffer& weight, int64_t n_tokens, int64_t n,
                             int64_t n_taps, bool fresh, Buffer& state, Buffer& y) {
    const Buffer& from = read(x, floats_bytes(n_tokens * n));
    const Buffer& taps = read_all(weight);
    Buffer& rows = change(state);
    here().convolve(from, taps, n_tokens, n, n_taps, fresh, rows, write(y, floats_bytes(n_tokens * n)));
}

void PlacedBackend::delta_net(const DeltaHeads& heads, const DeltaInputs& inputs, int64_t n_tokens,
                              bool fresh, Buffer& state, Buffer& y) {
    const size_t keys = floats_bytes(n_tokens * heads.n_key_heads * heads.key_dim);
    const size_t values = floats_bytes(n_tokens * heads.n_value_heads * heads.value_dim);
    const size_t gates = floats_bytes(n_tokens * heads.n_value_heads);
    const DeltaInputs there{&read(*inputs.q, keys),       &read(*inputs.k, keys),
                            &read(*inputs.v, values),     &read(*inputs.alpha, gates),
                            &read(*inputs.beta, gates),   &read_all(*inputs.decay),
                            &read_all(*inputs.alpha_bias)};
    Buffer& matrices = change(state);
    here().delta_net(heads, there, n_tokens, fresh, matrices, write(y, values));
}

// --- experts ---

void PlacedBackend::route(const RoutingRule& rule, const Buffer& logits, int64_t n_tokens, Buffer& experts,
                          Buffer& weights) {
    RoutingRule there = rule;
    there.selection_bias = read_or_null(rule.selection_bias);
    there.expert_scales = read_or_null(rule.expert_scales);
    const Buffer& from = read(logits, floats_bytes(n_tokens * rule.n_experts));
    const size_t n_bytes = floats_bytes(n_tokens * rule.n_used);  // int32_t are as long
    here().route(there, from, n_tokens, write(experts, n_bytes), write(weights, n_bytes));
}

void PlacedBackend::combine(const Buffer& x, const Buffer& weights, int64_t n_tokens, int64_t n_used,
                            int64_t n, Buffer& y) {
    const Buffer& from = read(x, floats_bytes(n_tokens * n_used * n));
    const Buffer& factors = read(weights, floats_bytes(n_tokens * n_used));
    here().combine(from, factors, n_tokens, n_used, n, write(y, floats_bytes(n_tokens * n)));
}

}  // namespace ingot::runtime
