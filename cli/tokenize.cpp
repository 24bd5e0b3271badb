// ingot tokenize: text → token ids and back, with the tokenizer that a GGUF file carries.
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <vector>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/model_options.h"
#include "converters/sources/json.h"
#include "format/error.h"
#include "format/gguf_model.h"
#include "format/json_writer.h"
#include "runtime/tokenizer/tokenizer.h"

namespace ingot::cli {
namespace {

using runtime::Token;
using runtime::Tokenizer;

struct Options {
    std::string file;
    std::optional<std::string> prompt;
    std::string prompt_file;
    std::optional<std::string> ids;        // --decode
    std::optional<std::string> separator;  // --each
    bool no_bos = false;
    bool special = false;
    bool json = false;
    bool json_lines = false;
};

constexpr size_t kOutputBytes = 1 << 20;  // that much is gathered before it is printed

/// "1, 2 3" or "[1,2,3]" → 1 2 3.
std::vector<Token> parse_ids(std::string_view list) {
    constexpr std::string_view kSeparators = " ,;[]\t\r\n";
    std::vector<Token> ids;
    for (size_t at = 0; (at = list.find_first_not_of(kSeparators, at)) != std::string_view::npos;) {
        const std::string_view item = list.substr(at, list.find_first_of(kSeparators, at) - at);
        Token id = 0;
        const auto [end, error] = std::from_chars(item.data(), item.data() + item.size(), id);
        if (error != std::errc() || end != item.data() + item.size()) {
            fail("--decode: '{}' is no token id; write whole numbers, separated by spaces or commas", item);
        }
        ids.push_back(id);
        at += item.size();
    }
    return ids;
}

std::string input_text(const Options& options) {
    if (options.prompt) return *options.prompt;
    return read_text(options.prompt_file.empty() ? "-" : options.prompt_file);
}

void print_json(const Tokenizer& tokenizer, const std::vector<Token>& ids) {
    JsonWriter json;
    json.begin_object();
    json.key("ids").begin_array(JsonWriter::kOneLine);
    for (const Token id : ids) json.value(id);
    json.end_array();
    json.key("texts").begin_array(JsonWriter::kOneLine);
    for (const Token id : ids) json.value(tokenizer.token_bytes(id, true));
    json.end_array();
    json.member("count", ids.size()).end_object();
    print_out(json.text() + "\n");
}

/// A line of ids for each part of the input that ends with the separator.
void print_each(const Tokenizer& tokenizer, const Options& options) {
    const std::string text = input_text(options);
    const std::string& separator = *options.separator;
    std::string lines;
    for (size_t begin = 0; begin < text.size();) {
        const size_t end = std::min(text.find(separator, begin), text.size());
        const std::string_view part = std::string_view(text).substr(begin, end - begin);
        lines +=
            fmt::format("{}\n", fmt::join(tokenizer.encode(part, !options.no_bos, options.special), " "));
        begin = end + separator.size();
    }
    print_out(lines);
}

/// The answer to one line of --json-lines: {"text": …} for ids, {"ids": …} for a text.
std::string answer(const Tokenizer& tokenizer, const Options& options, std::string_view line,
                   const std::string& where) {
    const converters::Json question = converters::Json::parse(line, where);
    const std::optional<std::string> text = question.get_string("text");
    const converters::Json* ids = question.find("ids");
    if (text.has_value() == (ids != nullptr)) {
        fail("{}: has {}; write {{\"text\": \"…\"}} to get ids, or {{\"ids\": […]}} to get text", where,
             text ? "both \"text\" and \"ids\"" : "neither \"text\" nor \"ids\"");
    }
    JsonWriter json;
    json.begin_object(JsonWriter::kOneLine);
    if (text) {
        json.key("ids").begin_array();
        for (const Token id : tokenizer.encode(*text, !options.no_bos, options.special)) json.value(id);
        json.end_array();
    } else {
        if (ids->kind() != converters::Json::Kind::Array) fail("{}: \"ids\" is no array", where);
        std::vector<Token> tokens;
        for (const converters::Json& each : ids->elements()) {
            const std::optional<uint64_t> id = each.whole_number();
            if (!id || *id >= tokenizer.size()) {
                fail("{}: ids[{}] is no token id; the vocabulary has 0 to {}", where, tokens.size(),
                     tokenizer.size() - 1);
            }
            tokens.push_back(Token(*id));
        }
        json.member("text", tokenizer.decode(tokens, options.special));
    }
    json.end_object();
    return json.text() + "\n";
}

/// Line after line, so that a file may be larger than memory.
void print_json_lines(const Tokenizer& tokenizer, const Options& options) {
    const bool is_stdin = options.prompt_file.empty() || options.prompt_file == "-";
    const std::string shown = is_stdin ? "standard input" : options.prompt_file;
    std::ifstream file;
    if (!is_stdin) file.open(options.prompt_file, std::ios::binary);
    std::istream& input = is_stdin ? std::cin : file;
    if (!input) fail("{}: cannot be opened: {}", shown, std::strerror(errno));
    std::string line, lines;
    for (uint64_t number = 1; std::getline(input, line); ++number) {
        if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
        try {
            lines += answer(tokenizer, options, line, fmt::format("{}: line {}", shown, number));
        } catch (const Error&) {
            print_out(lines);  // what was answered before
            throw;
        }
        if (lines.size() < kOutputBytes) continue;
        print_out(lines);
        lines.clear();
    }
    if (input.bad()) fail("{}: cannot be read: {}", shown, std::strerror(errno));
    print_out(lines);
}

void tokenize(const Options& options) {
    const GgufModel file(options.file);
    std::unique_ptr<Tokenizer> tokenizer;
    try {
        tokenizer = Tokenizer::from_header(file.header());
    } catch (const Error& error) {
        fail("{}: {}", options.file, error.what());
    }
    for (const std::string& warning : tokenizer->warnings) {
        fmt::print(stderr, "ingot: {} {}: {}\n", Painter(stderr)(Tone::Warning, "warning:"), options.file,
                   warning);
    }
    if (options.ids) {
        const std::string text = tokenizer->decode(parse_ids(*options.ids), options.special);
        print_out(is_terminal(stdout) ? text + "\n" : text);
        return;
    }
    if (options.separator) return print_each(*tokenizer, options);
    if (options.json_lines) return print_json_lines(*tokenizer, options);
    const std::vector<Token> ids = tokenizer->encode(input_text(options), !options.no_bos, options.special);
    if (options.json) return print_json(*tokenizer, ids);
    print_out(fmt::format("{}\n", fmt::join(ids, " ")));
}

}  // namespace

void add_tokenize(Command& program) {
    const auto options = std::make_shared<Options>();
    Command* command = program.add_command("tokenize", "Text to token ids, or back");
    command->add_option("FILE", options->file, "GGUF file, or any shard; one with only a vocabulary will do")
        ->required();
    Option* prompt = command->add_option("-p,--prompt", options->prompt, "The text");
    Option* file =
        command->add_option("-f,--file", options->prompt_file, "File with the text; - or nothing: stdin");
    Option* decode = command->add_option("--decode", options->ids, "Print the text of these ids instead");
    command->add_flag("--no-bos", options->no_bos, "Leave out BOS and EOS, where the model adds them");
    command->add_flag("--special", options->special,
                      "Read (or with --decode: print) control tokens such as <s>");
    Option* json =
        command->add_flag("--json", options->json, "{\"ids\": [...], \"texts\": [...], \"count\": N}");
    Option* json_lines = command->add_flag("--json-lines", options->json_lines,
                                           "Each line of the input is {\"text\": \"...\"}, answered by "
                                           "{\"ids\": [...]}, or the other way round");
    Option* each = command
                       ->add_option("--each", options->separator,
                                    "Cut the input after each SEPARATOR; a line of ids for each part")
                       ->type_name("SEPARATOR")
                       ->check([](const std::string& text) {
                           return text.empty() ? std::string("the separator is empty") : std::string();
                       });
    each->excludes(decode)->excludes(json)->excludes(json_lines);
    json_lines->excludes(decode)->excludes(json)->excludes(prompt);
    prompt->excludes(file)->excludes(decode);
    file->excludes(decode);
    json->excludes(decode);
    command->footer(
        "Examples:\n"
        "  ingot tokenize model.gguf -p \"Hello, world!\"\n"
        "  ingot tokenize model.gguf -f book.txt --json\n"
        "  ingot tokenize model.gguf -f texts.jsonl --json-lines > ids.jsonl\n"
        "  ingot tokenize model.gguf --decode \"1 15043 29892 3186\"");
    command->callback([options] { tokenize(*options); });
}

}  // namespace ingot::cli
