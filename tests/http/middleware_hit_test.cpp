// What a hit costs, counted: nothing here depends on how fast anything is.
#include <smartcache/http/middleware.hpp>

#include <cstddef>
#include <cstdlib>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include <smartcache/core/executor.hpp>
#include <smartcache/testing.hpp>

#include "support/catch.hpp"

namespace {
thread_local std::size_t allocations = 0;
}  // namespace

// Not inlined: g++ would take malloc and delete for a mismatch.
[[gnu::noinline]] void* operator new(std::size_t size) {
    ++allocations;
    if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
    throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    ++allocations;
    return std::malloc(size == 0 ? 1 : size);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
    std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}

namespace middleware_hit_test {

using namespace smartcache;
using http::Request;
using http::Response;
using http::Transaction;

namespace {

/// Takes no task: whoever gives it one learns that there was no answer at once.
struct NoExecutor final : Executor {
    [[nodiscard]] bool submit(Task) override { return false; }
};

Request report() {
    Request request;
    request.host = "reports.example.org:8080";
    request.path = "/reports/of/the/year";
    request.headers = {{"Host", "reports.example.org:8080"},
                       {"User-Agent", "a client with a name that fits into no string by itself"},
                       {"Accept-Encoding", "gzip, deflate, br"}};
    return request;
}

/// A middleware over the real cache that holds one response.
struct Stored {
    explicit Stored(http::MiddlewareOptions options = {}) : web(cache, std::move(options)) {
        (void)web.handle(report(), [](const Request&) {
            return Response{200,
                            {{"Content-Type", "application/octet-stream"},
                             {"Cache-Control", "public, max-age=3600"},
                             {"ETag", "\"0123456789abcdef0123456789abcdef\""},
                             {"Content-Length", "1024"}},
                            std::string(1024, 'x')};
        });
    }

    FakeClock clock;
    SmartCache<BytesCodec> cache{{.clock = &clock}};
    http::Middleware<SmartCache<BytesCodec>> web;
    NoExecutor executor;
};

}  // namespace

TEST_CASE("a hit allocates its key, its pin, its head and Cache-Status, and nothing else",
          "[http][middleware][hit]") {
    http::MiddlewareOptions options;
    options.cache_headers.clear();
    Stored stored(std::move(options));
    Request request = report();
    std::optional<Transaction> answer;
    const auto ask = [&] {
        answer.reset();
        const std::size_t before = allocations;
        stored.web.begin(std::move(request), stored.executor,
                         [&answer](Transaction transaction) { answer.emplace(std::move(transaction)); });
        return allocations - before;
    };
    (void)ask();
    // The head is two: its text and where the fields are in it. So is what makes the key of a long host and path.
    CHECK(ask() <= 7);
    REQUIRE(answer);
    REQUIRE(answer->answered());
    CHECK(answer->response().headers.value("X-Cache") == "HIT");
    CHECK(answer->response().body.size() == 1024);
}

TEST_CASE("a request that is answered at once stays whole", "[http][middleware][hit]") {
    Stored stored;
    Request request = report();
    int answers = 0;
    for (int i = 0; i < 2; ++i)
        stored.web.begin(std::move(request), stored.executor,
                         [&answers](const Transaction& transaction) { answers += transaction.answered(); });
    CHECK(answers == 2);
    CHECK(request.path == report().path);
    CHECK(request.host == report().host);
    CHECK(request.headers.wire() == report().headers.wire());
}

}  // namespace middleware_hit_test
