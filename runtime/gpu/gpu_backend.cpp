#include "runtime/gpu/gpu_backend.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string_view>
#include <utility>

#include "format/decode.h"
#include "format/error.h"
#include "runtime/cpu/thread_pool.h"
#include "runtime/gpu/gpu_internal.h"
#include "runtime/gpu/kernels/arguments.h"

namespace ingot::runtime {

using namespace gpu;

namespace {

constexpr size_t kLeastShared = 1 << 20;  // bytes of weights that are worth several threads
constexpr uint32_t kThreads = 256;        // of groups whose threads compute an element each

}  // namespace

uint32_t groups_of(int64_t n, int64_t n_each) {
    const int64_t n_groups = (n + n_each - 1) / n_each;
    if (n_groups > std::numeric_limits<int32_t>::max())
        fail("{} elements are more than a launch can have; use smaller batches", n);
    return uint32_t(n_groups);
}

GpuBackend::GpuBackend(std::unique_ptr<Device> device)
    : device_(std::move(device)),
      properties_(device_->properties()),
      queue_(*device_),
      tokens_(std::make_unique<Indices>(*this)),
      positions_(std::make_unique<Indices>(*this)),
      by_32_(std::make_unique<Quantized>(*this)),
      by_256_(std::make_unique<Quantized>(*this)),
      halves_(std::make_unique<Halves>(*this)),
      sorted_(std::make_unique<SortedSlots>(*this)),
      partial_(std::make_unique<Scratch>(*this)) {
    const char* const products = std::getenv("INGOT_GPU_PRODUCTS");
    const bool only_tiles = products != nullptr && std::string_view(products) == "tiles";
    if (products != nullptr && !only_tiles) fail("INGOT_GPU_PRODUCTS={}: expected tiles", products);
    has_warpgroups_ = properties_.has_warpgroup_products && !only_tiles;
    uses_warpgroups_ = has_warpgroups_;
}

GpuBackend::~GpuBackend() = default;

std::string GpuBackend::description() const {
    if (properties_.name == properties_.kind) return properties_.name;
    return fmt::format("{} ({})", properties_.kind, properties_.name);
}

gpu::Device& GpuBackend::idle_device() {
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
    queue_.flush();
    return *device_;
}

// --- memory ---

Address GpuBackend::allocate_bytes(size_t size_bytes, Access access) {
    Address address = 0;
    try {
        address = device_->allocate(size_bytes, access);
    } catch (const OutOfMemory& error) {
        fail(
            "{}; --device-memory or --gpu-layers leave layers to the CPU, a smaller --context and another "
            "--kv-type make the cache smaller",
            error.what());
    }
    allocated_ += size_bytes;
    if (access == Access::Read) weights_ += size_bytes;
    return address;
}

void GpuBackend::free_bytes(Address address, size_t size_bytes, Access access) {
    try {
        queue_.flush();  // something that waits may be about this memory
    } catch (...) {
        error_ = std::current_exception();  // memory is given back by destructors
    }
    device_->free(address);
    allocated_ -= size_bytes;
    if (access == Access::Read) weights_ -= size_bytes;
}

std::unique_ptr<Buffer> GpuBackend::allocate(size_t size_bytes) {
    return std::make_unique<GpuBuffer>(*this, size_bytes);
}

std::unique_ptr<Buffer> GpuBackend::view(Buffer& buffer, size_t offset_bytes, size_t size_bytes) {
    const gpu::Address at = static_cast<GpuBuffer&>(buffer).address() + offset_bytes;
    return std::make_unique<GpuBuffer>(*this, at, size_bytes);
}

void GpuBackend::upload(std::span<const std::byte> source, Buffer& destination) {
    idle_device().upload(source, address_of(destination));
}

void GpuBackend::download(const Buffer& source, std::span<std::byte> destination) {
    idle_device().download(address_of(source), destination);
}

std::unique_ptr<Weight> GpuBackend::load_weight(TensorType type, int64_t n_in, int64_t n_out,
                                                std::span<const std::byte> bytes) {
    const uint64_t file_row = row_bytes(type, uint64_t(n_in));
    const Layout* layout = find_layout(type);
    const bool decoded = layout == nullptr;
    if (decoded) {
        if (!info(type).decodable)
            fail("type {} can be inspected but not computed with by this version", name(type));
        layout = find_layout(TensorType::F32);
    }
    if (device_->has_memory() && bytes.size() < file_row * uint64_t(n_out)) {
        fail("has {} bytes; {} rows of {} elements take {}", bytes.size(), n_out, n_in,
             file_row * uint64_t(n_out));
    }
    const size_t device_row = device_row_bytes(*layout, n_in);
    auto weight = std::make_unique<GpuWeight>(*this, type, *layout, n_in, n_out, device_row);
    if (!device_->has_memory()) return weight;
    const bool needs_factor = has_warpgroups_ && layout->n_terms == 1;
    std::atomic<float> largest = 0;
    const auto load = [&](size_t offset, std::span<std::byte> part) {
        const std::byte* const first = bytes.data() + offset / device_row * file_row;
        share_rows(int64_t(part.size() / device_row), part.size(), [&](int64_t begin, int64_t end) {
            float most = 0;
            for (int64_t i = begin; i < end; ++i) {
                const std::byte* const from = first + size_t(i) * file_row;
                std::byte* const to = part.data() + size_t(i) * device_row;
                if (decoded) {
                    decode_row(type, from, reinterpret_cast<float*>(to), uint64_t(n_in));
                } else {
                    take_row_apart(*layout, n_in, from, to);
                    if (needs_factor) most = std::max(most, largest_weight(*layout, n_in, from));
                }
            }
            for (float seen = largest; seen < most && !largest.compare_exchange_weak(seen, most);) {
            }
        });
    };
    idle_device().fill(weight->address(), size_t(n_out) * device_row, device_row, load);
    weight->set_factor(weight_factor(largest));
    return weight;
}

void GpuBackend::share_rows(int64_t n_rows, size_t n_bytes,
                            const std::function<void(int64_t, int64_t)>& job) {
    if (n_bytes < kLeastShared) return job(0, n_rows);
    if (!loaders_) loaders_ = std::make_unique<ThreadPool>(0);
    loaders_->parallel_for(n_rows, 1, job);
}

Address GpuBackend::scratch(Scratch& scratch, size_t size_bytes) {
    if (!scratch.buffer || scratch.buffer->size_bytes() < size_bytes) {
        scratch.buffer.reset();
        scratch.buffer = std::make_unique<GpuBuffer>(*this, size_bytes);
    }
    return scratch.buffer->address();
}

// The same positions are asked for in every layer, and uploaded once.
Address GpuBackend::indices(Indices& indices, std::span<const int32_t> values) {
    const Address address = scratch(indices.memory, std::max<size_t>(1, values.size_bytes()));
    if (!std::ranges::equal(indices.values, values) || indices.at != address) {
        indices.values.assign(values.begin(), values.end());
        indices.at = address;
        idle_device().upload(std::as_bytes(values), address);
    }
    return address;
}

// A launch of a thread for each of n elements.
template <typename Arguments>
void GpuBackend::launch_each(Kernel kernel, int64_t n, const Arguments& arguments) {
    if (n > 0) queue_.launch(kernel, {.x = groups_of(n, kThreads), .n_threads = kThreads}, arguments);
}

// --- rows ---

void GpuBackend::embed_rows(const Weight& table, std::span<const Token> tokens, Buffer& y) {
    const GpuWeight& weight = gpu_weight(table);
    EmbedArguments a{};
    a.weights = global<const uint8_t>(weight.address());
    a.tokens = global<const int32_t>(indices(*tokens_, tokens));
    a.y = floats(y);
    a.row_bytes = int64_t(weight.device_row());
    a.n = int32_t(weight.n_in());
    queue_.launch(weight.layout().embed, {.x = uint32_t(tokens.size()), .n_threads = 128}, a);
}

void GpuBackend::copy_rows(const Buffer& x, std::span<const int32_t> rows, int64_t n, Buffer& y) {
    CopyRowsArguments a{};
    a.x = floats(x);
    a.rows = global<const int32_t>(indices(*tokens_, rows));
    a.y = floats(y);
    a.n_all = int64_t(rows.size()) * n;
    a.n = int32_t(n);
    launch_each(Kernel::copy_rows, a.n_all, a);
}

void GpuBackend::copy_columns(const Buffer& x, Columns from, int64_t n_rows, int64_t n, Buffer& y,
                              Columns to) {
    CopyColumnsArguments a{};
    a.x = floats(x);
    a.y = floats(y);
    a.n_all = n_rows * n;
    a.x_stride = from.stride;
    a.x_first = from.first;
    a.y_stride = to.stride;
    a.y_first = to.first;
    a.n = int32_t(n);
    launch_each(Kernel::copy_columns, a.n_all, a);
}

void GpuBackend::largest(const Buffer& x, int64_t n_rows, int64_t n, int64_t k, std::span<TokenLogit> found) {
    if (k > kMostLargest) return Backend::largest(x, n_rows, n, k, found);
    const auto n_left = [k](int64_t of) {  // after a launch
        return (of - 1) / kLargestPart * k + std::min(k, (of - 1) % kLargestPart + 1);
    };
    // Two places in turn; scratch is the same for every k.
    const size_t n_most = size_t(n_rows) * groups_of(n, kLargestPart) * kMostLargest;
    const Address places = scratch(*partial_, 4 * n_most * sizeof(float));
    LargestArguments a{};
    a.x = floats(x);
    a.n = int32_t(n);
    a.k = int32_t(k);
    Address y = places;
    for (;;) {
        a.n_left = int32_t(n_left(a.n));
        a.is_wide = are_wide(a.n, {a.x.address()});
        a.y = global<float>(y);
        a.places_in_y = global<int32_t>(y + size_t(n_rows * a.n_left) * sizeof(float));
        queue_.launch(Kernel::choose_largest,
                      {.x = groups_of(a.n, kLargestPart), .y = uint32_t(n_rows), .n_threads = kLanes}, a);
        if (a.n_left == k) break;
        a.x = a.y;
        a.places = a.places_in_y;
        a.n = a.n_left;
        y = y == places ? places + 2 * n_most * sizeof(float) : places;
    }
    const size_t n_found = size_t(n_rows * k);
    std::vector<uint32_t> words(2 * n_found);  // numbers, then places
    idle_device().download(y, std::as_writable_bytes(std::span(words)));
    for (size_t i = 0; i < n_found; ++i)
        found[i] = {Token(words[n_found + i]), std::bit_cast<float>(words[i])};
    for (int64_t row = 0; row < n_rows; ++row)
        std::ranges::sort(found.subspan(size_t(row * k), size_t(k)), is_better);
}

// --- arithmetic ---

void GpuBackend::norm(const Norm& norm, const Buffer& x, int64_t n_rows, Buffer& y) {
    NormArguments a{};
    a.x = floats(x);
    a.weight = floats(*norm.weight);
    if (norm.bias != nullptr) a.bias = floats(*norm.bias);
    a.y = floats(y);
    a.stride = norm.stride != 0 ? norm.stride : norm.n;
    a.n = int32_t(norm.n);
    a.n_groups = int32_t(norm.n_groups);
    a.is_layer = norm.kind == NormKind::Layer;
    a.epsilon = norm.epsilon;
    const uint32_t n_threads = norm.n <= 256 ? 32 : kThreads;
    AddArguments added{};
    const bool adds =
        a.stride == norm.n && queue_.amend_last<AddArguments>(Kernel::add, [&](Grid&, AddArguments& last) {
            added = last;
            return last.y.address() == a.x.address() && last.n == n_rows * norm.n;
        });
    if (adds) {
        queue_.drop_last();
        a.added = added.x;
        a.x_sum = added.y;
    }
    a.is_wide = norm.n % 4 == 0 && are_wide(a.stride, {a.x.address(), a.added.address(), a.weight.address(),
                                                       a.bias.address(), a.y.address()});
    if (n_rows > 0) queue_.launch(Kernel::norm, {.x = uint32_t(n_rows), .n_threads = n_threads}, a);
}

void GpuBackend::activate(Activation activation, const Buffer& gate, const Buffer* up, int64_t n, Buffer& y) {
    ActivateArguments a{};
    a.gate = floats(gate);
    if (up != nullptr) a.up = floats(*up);
    a.y = floats(y);
    a.n = n;
    a.activation = int32_t(activation);
    if (!activate_product(a)) launch_each(Kernel::activate, n, a);
}

void GpuBackend::map(Elementwise function, float value, int64_t n, Buffer& x) {
    MapArguments a{};
    a.x = floats(x);
    a.n = n;
    a.value = value;
    a.function = int32_t(function);
    launch_each(Kernel::map, n, a);
}

void GpuBackend::scale_rows(const Buffer& x, const Buffer& scales, int64_t n_rows, int64_t n,
                            int64_t n_repeats, Buffer& y) {
    ScaleRowsArguments a{};
    a.x = floats(x);
    a.scales = floats(scales);
    a.y = floats(y);
    a.n_all = n_rows * n;
    a.n = int32_t(n);
    a.n_repeats = int32_t(n_repeats);
    launch_each(Kernel::scale_rows, a.n_all, a);
}

void GpuBackend::add(const Buffer& x, int64_t n, Buffer& y) {
    AddArguments a{};
    a.x = floats(x);
    a.y = floats(y);
    a.n = n;
    launch_each(Kernel::add, n, a);
}

// --- recurrent layers ---

void GpuBackend::convolve(const Buffer& x, const Buffer& weight, int64_t n_tokens, int64_t n, int64_t n_taps,
                          bool fresh, Buffer& state, Buffer& y) {
    ConvolveArguments a{};
    a.x = floats(x);
    a.weight = floats(weight);
    a.state = floats(state);
    a.y = floats(y);
    a.n_tokens = int32_t(n_tokens);
    a.n = int32_t(n);
    a.n_taps = int32_t(n_taps);
    a.fresh = fresh;
    launch_each(Kernel::convolve, n, a);
}

void GpuBackend::delta_net(const DeltaHeads& heads, const DeltaInputs& inputs, int64_t n_tokens, bool fresh,
                           Buffer& state, Buffer& y) {
    DeltaNetArguments a{};
    a.q = floats(*inputs.q);
    a.k = floats(*inputs.k);
    a.v = floats(*inputs.v);
    a.alpha = floats(*inputs.alpha);
    a.beta = floats(*inputs.beta);
    a.decay = floats(*inputs.decay);
    a.alpha_bias = floats(*inputs.alpha_bias);
    a.state = floats(state);
    a.y = floats(y);
    a.n_tokens = int32_t(n_tokens);
    a.n_key_heads = int32_t(heads.n_key_heads);
    a.n_value_heads = int32_t(heads.n_value_heads);
    a.key_dim = int32_t(heads.key_dim);
    a.value_dim = int32_t(heads.value_dim);
    a.tiled = heads.tiled;
    a.fresh = fresh;
    a.scale = 1 / std::sqrt(float(heads.key_dim));
    const Grid grid{.x = groups_of(heads.value_dim, kDeltaThreads),
                    .y = uint32_t(heads.n_value_heads),
                    .n_threads = kDeltaThreads};
    queue_.launch(Kernel::delta_net, grid, a);
}

// --- experts ---

void GpuBackend::route(const RoutingRule& rule, const Buffer& logits, int64_t n_tokens, Buffer& experts,
                       Buffer& weights) {
    if (rule.n_experts > kMaxExperts) {
        fail("{} experts; the kernels of {} take up to {}: use --device cpu", rule.n_experts, description(),
             int(kMaxExperts));
    }
    RouteArguments a{};
    a.logits = floats(logits);
    if (rule.selection_bias != nullptr) a.selection_bias = floats(*rule.selection_bias);
    if (rule.expert_scales != nullptr) a.expert_scales = floats(*rule.expert_scales);
    a.experts = global<int32_t>(address_of(experts));
    a.weights = floats(weights);
    a.n_experts = int32_t(rule.n_experts);
    a.n_used = int32_t(rule.n_used);
    a.n_groups = int32_t(rule.n_groups);
    a.n_groups_used = int32_t(rule.n_groups_used);
    a.gating = int32_t(rule.gating);
    a.sum_of_largest = rule.group_score == GroupScore::Largest ? 1 : 2;
    a.normalize = rule.normalize;
    a.scale = rule.scale;
    queue_.launch(Kernel::route, {.x = uint32_t(n_tokens), .n_threads = kLanes}, a);
}

void GpuBackend::combine(const Buffer& x, const Buffer& weights, int64_t n_tokens, int64_t n_used, int64_t n,
                         Buffer& y) {
    CombineArguments a{};
    a.x = floats(x);
    a.weights = floats(weights);
    a.y = floats(y);
    a.n_all = n_tokens * n;
    a.n = int32_t(n);
    a.n_used = int32_t(n_used);
    launch_each(Kernel::combine, a.n_all, a);
}

}  // namespace ingot::runtime
