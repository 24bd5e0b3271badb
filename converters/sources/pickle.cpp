// The state dict among the values that a pickle builds.
#include "converters/sources/pickle.h"

#include "converters/sources/pickle_machine.h"
#include "format/error.h"

namespace ingot::converters {

namespace {

using pickle::Value;
using Kind = Value::Kind;

constexpr uint64_t kMaxDimensions = 16;
constexpr int kMaxContainers = 4;  // dicts around the state dict

/// The tensors among the machine's values.
class StateDict {
  public:
    StateDict(const Value& root, const std::string& name) : name_(name) {
        const Value* dict = find(root);
        for (size_t i = 0; i + 1 < dict->items.size(); i += 2) {
            const Value& key = *dict->items[i];
            if (dict->items[i + 1]->kind == Kind::Tensor && key.kind == Kind::Text)
                add(std::string(key.text), *dict->items[i + 1]);
        }
    }
    std::vector<PickledTensor> tensors;

  private:
    static bool has_tensors(const Value& dict) {
        for (size_t i = 1; i < dict.items.size(); i += 2) {
            if (dict.items[i]->kind == Kind::Tensor) return true;
        }
        return false;
    }

    /// The dict itself, or one under a key that trainers use.
    const Value* find(const Value& root) const {
        constexpr std::string_view kContainers[] = {"state_dict", "model_state_dict", "model", "module"};
        const Value* dict = &root;
        for (int level = 0; level <= kMaxContainers; ++level) {
            if (dict->kind != Kind::Dict) break;
            if (has_tensors(*dict)) return dict;
            const Value* inner = nullptr;
            for (const std::string_view container : kContainers) {
                for (size_t i = 0; i + 1 < dict->items.size() && !inner; i += 2) {
                    const bool named =
                        dict->items[i]->kind == Kind::Text && dict->items[i]->text == container;
                    if (named && dict->items[i + 1]->kind == Kind::Dict) inner = dict->items[i + 1];
                }
            }
            if (!inner) break;
            dict = inner;
        }
        std::vector<std::string> keys;
        if (root.kind == Kind::Dict) {
            for (size_t i = 0; i < root.items.size() && keys.size() < 8; i += 2) {
                if (root.items[i]->kind == Kind::Text) keys.push_back(printable(root.items[i]->text));
            }
        }
        fail("{}: no tensors by name; expected a state dict, or one under {}; found {}", name_,
             fmt::join(kContainers, ", "),
             root.kind != Kind::Dict ? "no dict"
             : keys.empty()          ? "an empty dict"
                                     : fmt::format("{}", fmt::join(keys, ", ")));
    }

    uint64_t whole(const Value& value, const std::string& tensor) const {
        if (value.kind != Kind::Integer || value.integer < 0)
            fail("{}: tensor \"{}\" has a size, stride or offset that is no whole number", name_,
                 printable(tensor));
        return uint64_t(value.integer);
    }
    std::vector<uint64_t> wholes(const Value& tuple, const std::string& tensor) const {
        if (tuple.kind != Kind::Tuple || tuple.items.size() > kMaxDimensions)
            fail("{}: tensor \"{}\" has no proper shape (at most {} dimensions)", name_, printable(tensor),
                 kMaxDimensions);
        std::vector<uint64_t> numbers;
        for (const Value* item : tuple.items) numbers.push_back(whole(*item, tensor));
        return numbers;
    }

    void add(std::string tensor, const Value& value) {
        const Value& storage = *value.items[0];
        if (value.element->dtype.empty())
            fail("{}: tensor \"{}\" has no element type", name_, printable(tensor));
        PickledTensor view{std::move(tensor),
                           value.element,
                           std::string(storage.text),
                           uint64_t(storage.integer),
                           0,
                           {},
                           {}};
        view.offset = whole(*value.items[1], view.name);
        view.shape = wholes(*value.items[2], view.name);
        view.strides = wholes(*value.items[3], view.name);
        if (view.shape.size() != view.strides.size())
            fail("{}: tensor \"{}\" has {} dimensions but {} strides", name_, printable(view.name),
                 view.shape.size(), view.strides.size());
        tensors.push_back(std::move(view));
    }

    const std::string& name_;
};

}  // namespace

std::vector<PickledTensor> read_pickled_tensors(std::span<const std::byte> pickle, const std::string& name) {
    if (pickle.size() > kMaxPickleBytes)
        fail("{}: a pickle of {} bytes (at most {})", name, pickle.size(), kMaxPickleBytes);
    std::deque<Value> values;
    return std::move(StateDict(pickle::run(pickle, name, values), name).tensors);
}

}  // namespace ingot::converters
