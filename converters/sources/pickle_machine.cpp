#include "converters/sources/pickle_machine.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "format/error.h"
#include "format/utf8.h"

namespace ingot::converters::pickle {

namespace {

using Kind = Value::Kind;

// A state dict takes some twenty values for each tensor, and the largest file has thousands of tensors.
constexpr uint64_t kMaxValues = 1 << 19;
constexpr uint64_t kMaxStack = 1 << 16;
constexpr uint64_t kMaxGlobalBytes = 256;

constexpr PickledElement kElements[] = {
    {"DoubleStorage", "float64", "F64", 8, TensorType::F64},
    {"FloatStorage", "float32", "F32", 4, TensorType::F32},
    {"HalfStorage", "float16", "F16", 2, TensorType::F16},
    {"BFloat16Storage", "bfloat16", "BF16", 2, TensorType::BF16},
    {"LongStorage", "int64", "I64", 8, TensorType::I64},
    {"IntStorage", "int32", "I32", 4, TensorType::I32},
    {"ShortStorage", "int16", "I16", 2, TensorType::I16},
    {"CharStorage", "int8", "I8", 1, TensorType::I8},
    {"ByteStorage", "uint8", "U8", 1, {}},
    {"BoolStorage", "bool", "BOOL", 1, {}},
    {"", "uint16", "U16", 2, {}},
    {"", "uint32", "U32", 4, {}},
    {"", "uint64", "U64", 8, {}},
    {"", "float8_e4m3fn", "F8_E4M3", 1, {}},
    {"", "float8_e5m2", "F8_E5M2", 1, {}},
    {"", "float8_e8m0fnu", "F8_E8M0", 1, {}},
    {"ComplexFloatStorage", "complex64", "C64", 8, {}},
};
constexpr PickledElement kUntyped{"UntypedStorage", "", "bytes", 1, {}};

struct Global {
    std::string_view module, name;
    Role role;
};
/// The allow list, with kElements' storages and dtypes in the module "torch".
constexpr Global kGlobals[] = {
    {"collections", "OrderedDict", Role::OrderedDict},
    {"torch._utils", "_rebuild_tensor", Role::Tensor},
    {"torch._utils", "_rebuild_tensor_v2", Role::Tensor},
    {"torch._utils", "_rebuild_tensor_v3", Role::TypedTensor},
    {"torch._utils", "_rebuild_parameter", Role::Parameter},
    {"torch._utils", "_rebuild_parameter_with_state", Role::Parameter},
    {"torch._tensor", "_rebuild_from_type_v2", Role::FromType},
    {"torch", "Tensor", Role::TensorClass},
    {"torch.nn.parameter", "Parameter", Role::TensorClass},
    {"torch.nn.parameter", "Buffer", Role::TensorClass},
    {"torch", "UntypedStorage", Role::UntypedStorage},
    {"torch.storage", "UntypedStorage", Role::UntypedStorage},
    {"torch", "Size", Role::Size},
    {"torch", "device", Role::Ignored},
};

class Machine {
  public:
    Machine(std::span<const std::byte> pickle, const std::string& name, std::deque<Value>& values)
        : pickle_(pickle), name_(name), values_(values) {}

    /// The value that the pickle leaves behind.
    const Value& run() {
        for (;;) {
            opcode_at_ = position_;
            const uint8_t opcode = number<uint8_t>();
            if (opcode == '.') break;
            step(opcode);
            if (stack_.size() > kMaxStack) fail("{}: more than {} values on the stack", where(), kMaxStack);
        }
        if (stack_.size() != 1)
            fail("{}: {} values are left at the end, expected one", where(), stack_.size());
        return *pop();
    }

  private:
    std::string where() const { return fmt::format("{}: byte {} of the pickle", name_, opcode_at_); }

    // ---- bytes
    std::string_view bytes(uint64_t n) {
        if (n > pickle_.size() - position_)
            fail("{}: {} bytes are wanted, but {} are left", where(), n, pickle_.size() - position_);
        const char* begin = reinterpret_cast<const char*>(pickle_.data()) + position_;
        position_ += n;
        return {begin, n};
    }
    template <typename T>  // little-endian
    T number() {
        T value;
        std::memcpy(&value, bytes(sizeof(T)).data(), sizeof(T));
        return value;
    }
    std::string_view line() {
        const char* begin = reinterpret_cast<const char*>(pickle_.data()) + position_;
        const uint64_t n_left = std::min<uint64_t>(pickle_.size() - position_, kMaxGlobalBytes);
        const void* end = std::memchr(begin, '\n', n_left);
        if (!end) fail("{}: no end of the line within {} bytes", where(), n_left);
        const std::string_view text = bytes(uint64_t(static_cast<const char*>(end) - begin));
        ++position_;
        return text;
    }
    std::string_view utf8(uint64_t n) {
        const std::string_view text = bytes(n);
        if (!is_utf8(text)) fail("{}: a text that is not UTF-8", where());
        return text;
    }

    // ---- stack and memo
    Value* make(Kind kind) {
        if (values_.size() == kMaxValues) fail("{}: more than {} values", where(), kMaxValues);
        Value& value = values_.emplace_back();
        value.kind = kind;
        return &value;
    }
    Value* push(Value* value) {
        stack_.push_back(value);
        return value;
    }
    void push_integer(int64_t integer, Kind kind = Kind::Integer) { push(make(kind))->integer = integer; }
    void push_text(std::string_view text, Kind kind = Kind::Text) { push(make(kind))->text = text; }
    Value* pop() {
        if (stack_.empty() || stack_.back()->kind == Kind::Mark) fail("{}: nothing is on the stack", where());
        Value* value = stack_.back();
        stack_.pop_back();
        return value;
    }
    Value* top(Kind kind, const char* expected) {
        if (stack_.empty() || stack_.back()->kind != kind) fail("{}: {} was expected", where(), expected);
        return stack_.back();
    }
    std::vector<Value*> pop_to_mark() {
        auto mark = std::find_if(stack_.rbegin(), stack_.rend(),
                                 [](const Value* value) { return value->kind == Kind::Mark; });
        if (mark == stack_.rend()) fail("{}: no mark is on the stack", where());
        std::vector<Value*> items(mark.base(), stack_.end());
        stack_.erase(mark.base() - 1, stack_.end());
        return items;
    }
    void push_tuple(size_t n) {
        std::vector<Value*> items(n);
        for (size_t i = n; i-- > 0;) items[i] = pop();
        push(make(Kind::Tuple))->items = std::move(items);
    }
    void memorize(uint64_t index) {
        if (stack_.empty() || stack_.back()->kind == Kind::Mark) fail("{}: nothing to remember", where());
        if (memo_.size() == kMaxValues) fail("{}: more than {} remembered values", where(), kMaxValues);
        memo_[index] = stack_.back();
    }
    void recall(uint64_t index) {
        const auto found = memo_.find(index);
        if (found == memo_.end()) fail("{}: nothing was remembered as {}", where(), index);
        push(found->second);
    }
    void append(const std::vector<Value*>& items) {
        Value* list = top(Kind::List, "a list");
        list->items.insert(list->items.end(), items.begin(), items.end());
    }
    void set_items(const std::vector<Value*>& items) {
        if (items.size() % 2 != 0) fail("{}: a key without a value", where());
        Value* dict = top(Kind::Dict, "a dict");
        dict->items.insert(dict->items.end(), items.begin(), items.end());
    }

    // ---- one operation; letters and numbers as in Python's pickletools
    // clang-format off
    void step(uint8_t opcode) {
        switch (opcode) {
            case 0x80: {  // PROTO
                const uint8_t version = number<uint8_t>();
                if (version < 2 || version > 5)
                    fail("{}: protocol {} of pickle, expected 2 to 5", where(), version);
                return;
            }
            case 0x95: return void(number<uint64_t>());  // FRAME: its length
            case '(': return void(push(make(Kind::Mark)));
            case '0': return pop_any();  // POP
            case '1': return void(pop_to_mark());  // POP_MARK
            case '2': {                      // DUP
                Value* value = pop();
                push(value);
                return void(push(value));
            }
            case 'N': return void(push(make(Kind::None)));
            case 0x88: return push_integer(1, Kind::Bool);  // NEWTRUE
            case 0x89: return push_integer(0, Kind::Bool);  // NEWFALSE
            case 'J': return push_integer(number<int32_t>());  // BININT
            case 'K': return push_integer(number<uint8_t>());  // BININT1
            case 'M': return push_integer(number<uint16_t>());  // BININT2
            case 0x8a: return push_long(number<uint8_t>());  // LONG1
            case 0x8b: return push_long(number<uint32_t>());  // LONG4
            case 'G': bytes(8); return void(push(make(Kind::Float)));  // BINFLOAT; none is needed
            case 'X': return push_text(utf8(number<uint32_t>()));  // BINUNICODE
            case 0x8c: return push_text(utf8(number<uint8_t>()));  // SHORT_BINUNICODE
            case 0x8d: return push_text(utf8(number<uint64_t>()));  // BINUNICODE8
            case 'U': return push_text(utf8(number<uint8_t>()));  // SHORT_BINSTRING, of Python 2
            case 'T': return push_text(utf8(number<uint32_t>()));  // BINSTRING
            case 'B': return push_text(bytes(number<uint32_t>()), Kind::Bytes);
            case 'C': return push_text(bytes(number<uint8_t>()), Kind::Bytes);
            case 0x8e: return push_text(bytes(number<uint64_t>()), Kind::Bytes);
            case ')': return push_tuple(0);
            case 0x85: return push_tuple(1);
            case 0x86: return push_tuple(2);
            case 0x87: return push_tuple(3);
            case 't': return push_marked(Kind::Tuple);
            case 'l': return push_marked(Kind::List);
            case 'd': return push_marked(Kind::Dict);
            case ']': return void(push(make(Kind::List)));
            case '}': return void(push(make(Kind::Dict)));
            case 'a': {  // APPEND
                Value* item = pop();
                return append({item});
            }
            case 'e': return append(pop_to_mark());  // APPENDS
            case 's': {                        // SETITEM
                Value* value = pop();
                Value* key = pop();
                return set_items({key, value});
            }
            case 'u': return set_items(pop_to_mark());  // SETITEMS
            case 'q': return memorize(number<uint8_t>());  // BINPUT
            case 'r': return memorize(number<uint32_t>());  // LONG_BINPUT
            case 0x94: return memorize(memo_.size());  // MEMOIZE
            case 'h': return recall(number<uint8_t>());  // BINGET
            case 'j': return recall(number<uint32_t>());  // LONG_BINGET
            case 'c': {                             // GLOBAL
                const std::string_view module = line();
                return push_global(module, line());
            }
            case 0x93: {  // STACK_GLOBAL
                const Value* global = pop();
                const Value* module = pop();
                if (global->kind != Kind::Text || module->kind != Kind::Text)
                    fail("{}: a global whose name is no text", where());
                return push_global(module->text, global->text);
            }
            case 'R': {  // REDUCE
                const Value* arguments = pop();
                const Value* function = pop();
                return void(push(call(*function, *arguments)));
            }
            case 'b': {  // BUILD: attributes
                const Value* state = pop();
                // A state dict has the versions of its modules as an attribute.
                if (state->kind != Kind::Dict && state->kind != Kind::Tuple)
                    fail("{}: attributes that are no dict", where());
                return void(top(Kind::Dict, "an OrderedDict to set attributes of"));
            }
            case 'Q': return push_storage(*pop());  // BINPERSID
            default:
                fail("{}: operation 0x{:02x}, which no checkpoint of tensors needs; the file is refused",
                     where(), opcode);
        }
    }
    // clang-format on

    void pop_any() {
        if (stack_.empty()) fail("{}: nothing is on the stack", where());
        stack_.pop_back();
    }
    void push_marked(Kind kind) {
        std::vector<Value*> items = pop_to_mark();
        if (kind == Kind::Dict && items.size() % 2 != 0) fail("{}: a key without a value", where());
        push(make(kind))->items = std::move(items);
    }
    void push_long(uint64_t n_bytes) {
        if (n_bytes > 8) fail("{}: a number of {} bytes; a tensor's have at most 8", where(), n_bytes);
        const std::string_view digits = bytes(n_bytes);
        uint64_t value = 0;
        for (size_t i = 0; i < n_bytes; ++i) value |= uint64_t(uint8_t(digits[i])) << (8 * i);
        const bool negative = n_bytes > 0 && (uint8_t(digits[n_bytes - 1]) & 0x80);
        if (negative && n_bytes < 8) value |= ~uint64_t(0) << (8 * n_bytes);
        push_integer(int64_t(value));
    }

    void push_global(std::string_view module, std::string_view global) {
        for (const Global& row : kGlobals) {
            if (row.module != module || row.name != global) continue;
            Value* value = push(make(Kind::Global));
            value->role = row.role;
            value->text = row.name;
            return;
        }
        if (module == "torch") {
            for (const PickledElement& element : kElements) {
                const bool storage = !element.storage.empty() && element.storage == global;
                if (!storage && element.dtype != global) continue;
                Value* value = push(make(Kind::Global));
                value->role = storage ? Role::ElementStorage : Role::Dtype;
                value->text = global;
                value->element = &element;
                return;
            }
        }
        fail(
            "{}: wants to use \"{}.{}\", which is not among the things that tensors are made of; pickles can "
            "run any program, so the file is refused. If you trust it, load it with PyTorch and save its "
            "state "
            "dict as safetensors",
            where(), printable(module), printable(global));
    }

    Value* call(const Value& function, const Value& arguments) {
        if (function.kind != Kind::Global) fail("{}: a call of something that is no function", where());
        if (arguments.kind != Kind::Tuple) fail("{}: a call without a tuple of arguments", where());
        const auto& items = arguments.items;
        const auto expect = [&](bool as_expected) {
            if (!as_expected) fail("{}: unexpected arguments of {}", where(), function.text);
        };
        switch (function.role) {
            case Role::OrderedDict: {
                Value* dict = make(Kind::Dict);
                expect(items.empty());
                return dict;
            }
            case Role::Tensor:
            case Role::TypedTensor: {
                expect(items.size() >= 4 && items[0]->kind == Kind::Storage);
                Value* tensor = make(Kind::Tensor);
                tensor->element = items[0]->element;
                if (function.role == Role::TypedTensor) {
                    expect(items.size() >= 7 && items[6]->kind == Kind::Global &&
                           items[6]->role == Role::Dtype);
                    tensor->element = items[6]->element;
                }
                tensor->items.assign(items.begin(), items.begin() + 4);
                return tensor;
            }
            case Role::Parameter: {
                expect(!items.empty() && items[0]->kind == Kind::Tensor);
                Value* tensor = make(Kind::Tensor);
                *tensor = *items[0];
                return tensor;
            }
            case Role::FromType:
                expect(items.size() == 4 && items[0]->kind == Kind::Global &&
                       items[0]->role != Role::FromType && items[1]->kind == Kind::Global &&
                       items[1]->role == Role::TensorClass);
                return call(*items[0], *items[2]);
            case Role::Size: {
                expect(items.size() == 1 && items[0]->kind == Kind::Tuple);
                return items[0];
            }
            case Role::Ignored:
                return make(Kind::Ignored);
            case Role::TensorClass:
            case Role::ElementStorage:
            case Role::UntypedStorage:
            case Role::Dtype:
                break;
        }
        fail("{}: {} is called; a checkpoint only names it", where(), function.text);
    }

    /// ("storage", torch.FloatStorage, key, location, elements)
    void push_storage(const Value& id) {
        const auto& items = id.items;
        const bool well_formed =
            id.kind == Kind::Tuple && items.size() >= 5 && items[0]->kind == Kind::Text &&
            items[0]->text == "storage" && items[1]->kind == Kind::Global &&
            (items[1]->role == Role::ElementStorage || items[1]->role == Role::UntypedStorage) &&
            items[2]->kind == Kind::Text && items[4]->kind == Kind::Integer && items[4]->integer >= 0;
        if (!well_formed) fail("{}: a reference that is no storage of a tensor", where());
        Value* storage = push(make(Kind::Storage));
        storage->element = items[1]->element ? items[1]->element : &kUntyped;
        storage->text = items[2]->text;
        if (__builtin_mul_overflow(items[4]->integer, int64_t(storage->element->size_bytes),
                                   &storage->integer))
            fail("{}: a storage of {} elements", where(), items[4]->integer);
    }

    std::span<const std::byte> pickle_;
    const std::string& name_;
    std::deque<Value>& values_;  // a deque: values point at each other
    uint64_t position_ = 0, opcode_at_ = 0;
    std::vector<Value*> stack_;
    std::unordered_map<uint64_t, Value*> memo_;
};

}  // namespace

const Value& run(std::span<const std::byte> pickle, const std::string& name, std::deque<Value>& values) {
    return Machine(pickle, name, values).run();
}

}  // namespace ingot::converters::pickle
