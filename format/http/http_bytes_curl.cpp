// Ranges of a URL, by libcurl. The library is loaded when the first URL is opened: with all that it needs
// itself it takes longer to load than most commands take to run.
#include <curl/curl.h>
#include <dlfcn.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>

#include "format/error.h"
#include "format/http/http_bytes.h"

namespace ingot {

namespace {

constexpr uint64_t kBeginning = 256 << 10;  // bytes of the first request

/// The functions that are used, by their own names.
struct Curl {
    decltype(&::curl_global_init) global_init;
    decltype(&::curl_easy_init) easy_init;
    decltype(&::curl_easy_cleanup) easy_cleanup;
    decltype(&::curl_easy_setopt) easy_setopt;
    decltype(&::curl_easy_getinfo) easy_getinfo;
    decltype(&::curl_easy_perform) easy_perform;
    decltype(&::curl_easy_strerror) easy_strerror;

    /// Loaded once. Throws Error when it is not installed.
    static const Curl& get() {
        static const Curl curl;
        return curl;
    }

  private:
    Curl() {
        void* library = nullptr;
        for (const char* name : {"libcurl.so.4", "libcurl-gnutls.so.4", "libcurl.4.dylib"})
            if (!library) library = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
        if (!library)
            fail("libcurl is not installed (Debian: libcurl4); install it, or download the file first");
        find(library, "curl_global_init", global_init);
        find(library, "curl_easy_init", easy_init);
        find(library, "curl_easy_cleanup", easy_cleanup);
        find(library, "curl_easy_setopt", easy_setopt);
        find(library, "curl_easy_getinfo", easy_getinfo);
        find(library, "curl_easy_perform", easy_perform);
        find(library, "curl_easy_strerror", easy_strerror);
        if (global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) fail("libcurl cannot be started");
    }
    template <typename Function>
    static void find(void* library, const char* name, Function& function) {
        function = reinterpret_cast<Function>(::dlsym(library, name));
        if (!function) fail("libcurl has no {}; a newer one is needed", name);
    }
};

/// Where an answer goes, and what its headers say.
struct Answer {
    CURL* curl = nullptr;
    std::byte* target = nullptr;
    uint64_t capacity = 0, n_bytes = 0;
    std::string content_range, etag;
    bool too_long = false;

    static size_t take_body(char* data, size_t size, size_t n, void* self) {
        auto& answer = *static_cast<Answer*>(self);
        const size_t n_bytes = size * n;
        // Bodies of redirections and errors are not the file's. A whole file where a range was asked for is
        // not read to its end.
        long status = 0;
        Curl::get().easy_getinfo(answer.curl, CURLINFO_RESPONSE_CODE, &status);
        if (status == 200) return 0;
        if (status != 206) return n_bytes;
        if (n_bytes > answer.capacity - answer.n_bytes) {
            answer.too_long = true;
            return 0;  // ends the transfer
        }
        std::memcpy(answer.target + answer.n_bytes, data, n_bytes);
        answer.n_bytes += n_bytes;
        return n_bytes;
    }

    static size_t take_header(char* data, size_t size, size_t n, void* self) {
        auto& answer = *static_cast<Answer*>(self);
        std::string line(data, size * n);
        const size_t colon = line.find(':');
        if (colon == line.npos) return size * n;
        std::string name = line.substr(0, colon);
        std::ranges::transform(name, name.begin(), [](char c) { return char(std::tolower(uint8_t(c))); });
        const size_t begin = line.find_first_not_of(" \t", colon + 1);
        const size_t end = line.find_last_not_of(" \t\r\n");
        const std::string value =
            begin == line.npos || end < begin ? std::string() : line.substr(begin, end - begin + 1);
        if (name == "content-range") answer.content_range = value;
        if (name == "etag") answer.etag = value;
        return size * n;
    }
};

/// "bytes 0-99/1234" -> 0, 1234.
bool parse_content_range(std::string_view text, uint64_t& begin, uint64_t& size_bytes) {
    constexpr std::string_view kUnit = "bytes ";
    const size_t slash = text.find('/');
    if (!text.starts_with(kUnit) || slash == text.npos) return false;
    const char* end = text.data() + text.size();
    return std::from_chars(text.data() + kUnit.size(), end, begin).ec == std::errc() &&
           std::from_chars(text.data() + slash + 1, end, size_bytes).ec == std::errc();
}

}  // namespace

struct HttpBytes::Connection {
    CURL* curl = nullptr;
    std::string etag;

    Connection() {
        curl = Curl::get().easy_init();
        if (!curl) fail("libcurl cannot be started");
    }
    ~Connection() { Curl::get().easy_cleanup(curl); }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
};

HttpBytes::HttpBytes(const std::string& url) : url_(url), connection_(std::make_unique<Connection>()) {
    CURL* curl = connection_->curl;
    const auto set = Curl::get().easy_setopt;
    set(curl, CURLOPT_URL, url.c_str());
    set(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    set(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    set(curl, CURLOPT_FOLLOWLOCATION, 1L);
    set(curl, CURLOPT_MAXREDIRS, 8L);
    set(curl, CURLOPT_CONNECTTIMEOUT, 30L);
    set(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);  // bytes per second …
    set(curl, CURLOPT_LOW_SPEED_TIME, 60L);  // … for so many seconds: the server is gone
    set(curl, CURLOPT_NOSIGNAL, 1L);
    set(curl, CURLOPT_USERAGENT, "ingot/" INGOT_VERSION);
    beginning_.resize(kBeginning);
    fetch(beginning_.data(), 0, kBeginning);
    beginning_.resize(std::min<uint64_t>(kBeginning, size_bytes_));
}

HttpBytes::~HttpBytes() = default;

void HttpBytes::fetch(std::byte* target, uint64_t offset, uint64_t size_bytes) {
    CURL* curl = connection_->curl;
    const auto set = Curl::get().easy_setopt;
    Answer answer;
    answer.curl = curl;
    answer.target = target;
    answer.capacity = size_bytes;
    const std::string range = fmt::format("{}-{}", offset, offset + size_bytes - 1);
    char message[CURL_ERROR_SIZE] = "";
    set(curl, CURLOPT_RANGE, range.c_str());
    set(curl, CURLOPT_ERRORBUFFER, message);
    set(curl, CURLOPT_WRITEFUNCTION, Answer::take_body);
    set(curl, CURLOPT_WRITEDATA, &answer);
    set(curl, CURLOPT_HEADERFUNCTION, Answer::take_header);
    set(curl, CURLOPT_HEADERDATA, &answer);
    const CURLcode code = Curl::get().easy_perform(curl);
    set(curl, CURLOPT_ERRORBUFFER, nullptr);
    long status = 0;
    Curl::get().easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (status == 200) fail("the server sends the whole file where a range was asked for; download it first");
    // A body that was not taken is told below; a redirection that may not be followed, or no answer at all,
    // here.
    if (code != CURLE_OK && code != CURLE_WRITE_ERROR && code != CURLE_PARTIAL_FILE)
        fail("cannot be fetched: {}", *message ? message : Curl::get().easy_strerror(code));
    if (status >= 300 && status != 416) fail("the server answers with status {}", status);
    if (status == 416) fail("the server has no byte {} of it", grouped(offset));
    if (answer.too_long)
        fail("the server sends more than the {} bytes that were asked for", grouped(size_bytes));
    if (code != CURLE_OK) fail("cannot be fetched: {}", *message ? message : Curl::get().easy_strerror(code));

    uint64_t begin = 0, total = 0;
    if (!parse_content_range(answer.content_range, begin, total) || begin != offset)
        fail("the server's answer is no range from byte {} on", grouped(offset));
    const bool is_first = n_fetched_bytes_ == 0;
    if (is_first) {
        size_bytes_ = total;
        connection_->etag = answer.etag;
    }
    if (total != size_bytes_ || answer.etag != connection_->etag)
        fail("changed on the server while it was read; try again");
    if (answer.n_bytes != std::min(size_bytes, size_bytes_ - offset))
        fail("the server sent {} of {} bytes", grouped(answer.n_bytes), grouped(size_bytes));
    n_fetched_bytes_ += answer.n_bytes;
}

void HttpBytes::load(std::byte* memory, uint64_t offset, uint64_t size_bytes) {
    const std::lock_guard lock(mutex_);
    if (!beginning_.empty()) {
        std::memcpy(memory, beginning_.data(), beginning_.size());
        add_loaded(0, beginning_.size());
        beginning_ = {};
    }
    // The gaps between what is there already.
    constexpr uint64_t kPieceBytes = 64 << 20;
    const uint64_t end = offset + size_bytes;
    while (offset < end) {
        const auto next =
            std::ranges::find_if(loaded_, [&](const auto& part) { return part.second > offset; });
        if (next != loaded_.end() && next->first <= offset) {
            offset = next->second;
            continue;
        }
        const uint64_t gap_end = next == loaded_.end() ? end : std::min(end, next->first);
        const uint64_t n = std::min(kPieceBytes, gap_end - offset);
        try {
            fetch(memory + offset, offset, n);
        } catch (const Error& error) {
            fail("{}: {}", url_, error.what());
        }
        add_loaded(offset, offset + n);
        offset += n;
    }
}

void HttpBytes::add_loaded(uint64_t begin, uint64_t end) {
    loaded_.emplace_back(begin, end);
    std::ranges::sort(loaded_);
    std::vector<std::pair<uint64_t, uint64_t>> merged;
    for (const auto& part : loaded_) {
        if (!merged.empty() && part.first <= merged.back().second) {
            merged.back().second = std::max(merged.back().second, part.second);
        } else {
            merged.push_back(part);
        }
    }
    loaded_ = std::move(merged);
}

}  // namespace ingot
