#include "converters/sources/json.h"

#include <chrono>

#include "format/error.h"
#include "tests/catch.h"
#include "tests/converters/checkpoint_files.h"

using namespace ingot;
using converters::Json;

TEST_CASE("A config file gives values by key; null is as good as absent") {
    const Json json = Json::parse(
        R"({"n": 7, "whole": 1e6, "x": -2.5, "b": true, "s": "t\u00e9", "none": null, "list": ["a", "b"],
            "big": 18446744073709551615, "o": {"i": {"n": 1}}})",
        "config.json");
    CHECK(json.get_uint("n") == 7);
    CHECK(json.get_uint("whole") == 1'000'000);
    CHECK(json.get_uint("big") == UINT64_MAX);
    CHECK(json.get_number("x") == -2.5);
    CHECK(json.get_bool("b") == true);
    CHECK(json.get_string("s") == "té");
    CHECK(json.find("none") == nullptr);
    CHECK_FALSE(json.get_uint("absent"));
    CHECK(json.get_strings("list") == std::vector<std::string>{"a", "b"});
    CHECK(json.get_object("o")->get_object("i")->where() == "config.json: o.i");
}

TEST_CASE("A value of the wrong kind is an error that names the file and the key") {
    const Json json = Json::parse(R"({"n": -1, "f": 1.5, "o": {"s": 3}, "list": [1]})", "config.json");
    CHECK_THROWS_WITH(json.get_uint("n"), ContainsSubstring("config.json: \"n\" is -1"));
    CHECK_THROWS_WITH(json.get_uint("f"), ContainsSubstring("1.5"));
    CHECK_THROWS_WITH(json.get_object("o")->get_string("s"),
                      ContainsSubstring("config.json: o: \"s\" is a number"));
    CHECK_THROWS_WITH(json.get_strings("list"), ContainsSubstring("\"list\""));
    CHECK_THROWS_WITH(json.get_bool("f"), ContainsSubstring("true or false"));
    CHECK_THROWS_WITH(json.get_object("f"), ContainsSubstring("an object"));
}

TEST_CASE("Row 43: JSON nested deeper than 64 levels is an error, a million levels in linear time") {
    const auto nested = [](int depth) {
        return "{\"a\":" + std::string(size_t(depth), '[') + std::string(size_t(depth), ']') + "}";
    };
    CHECK_NOTHROW(Json::parse(nested(60), "config.json"));
    CHECK_THROWS_WITH(Json::parse(nested(65), "config.json"), ContainsSubstring("nested deeper than 64"));
    const auto start = std::chrono::steady_clock::now();
    CHECK_THROWS_AS(Json::parse(nested(1'000'000), "config.json"), Error);
    std::string objects;
    for (int i = 0; i < 1'000'000; ++i) objects += "{\"a\":";
    CHECK_THROWS_AS(Json::parse(objects, "config.json"), Error);
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
}

TEST_CASE("More values than any config file has are refused before they are read") {
    std::string zeros;
    for (uint64_t i = 0; i < 2 * Json::kMaxValues; ++i) zeros += "0,";
    CHECK_THROWS_WITH(Json::parse("{\"a\":[" + zeros + "0]}", "config.json"),
                      ContainsSubstring("more than 524288 values"));
}

TEST_CASE("Row 43: a key that appears twice in one object is an error that names it") {
    CHECK_THROWS_WITH(Json::parse(R"({"a": 1, "b": 2, "a": 1})", "config.json"),
                      ContainsSubstring("config.json: the key \"a\" appears twice"));
    CHECK_THROWS_WITH(Json::parse(R"({"o": {"x": 1, "x": 2}})", "config.json"),
                      ContainsSubstring("o: the key \"x\""));
    CHECK_THROWS_AS(Json::parse(R"({"a": 1, "\u0061": 2})", "config.json"), Error);
    CHECK_NOTHROW(Json::parse(R"({"a": {"a": 1}, "b": {"a": 1}})", "config.json"));
}

TEST_CASE("What is no JSON object in UTF-8 is an error that names the file") {
    for (const std::string text : {"", "{", "[1]", "7", "{\"a\":}", "{\"a\":1,}", "{'a':1}",
                                   "{\"a\":\"\xff\"}", "{} {}", "{\"a\":nan}", "\xef\xbb\xbf\x01{}"}) {
        INFO(text);
        CHECK_THROWS_WITH(Json::parse(text, "config.json"), ContainsSubstring("config.json"));
    }
}

TEST_CASE("A configuration file of many megabytes is refused before it is parsed") {
    const test::TemporaryFolder folder;
    test::write_file(folder / "config.json", "{\"a\":\"" + std::string(Json::kMaxFileBytes, 'x') + "\"}");
    CHECK_THROWS_WITH(Json::read_file(folder / "config.json"), ContainsSubstring("too large"));
}
