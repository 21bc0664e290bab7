#include <smartcache/facade/cached.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <smartcache/codec/json.hpp>
#include <smartcache/testing.hpp>

#include "support/catch.hpp"

namespace sc = smartcache;
using namespace std::chrono_literals;

namespace cached_test_app {

int calls = 0;

double area(double width, double height) {
    ++calls;
    return width * height;
}
int overloaded(int value) {
    return value + 1;
}
std::string overloaded(const std::string& value) {
    return value + "!";
}
int quiet(int value) noexcept {
    ++calls;
    return value;
}
int ignored_logger_calls = 0;
struct Log {};
int with_log(const Log& /*log*/, int value) {
    ++ignored_logger_calls;
    return value;
}

namespace other {
double area(double width, double height) {
    return width + height;
}
}  // namespace other

struct Repository {
    int id = 0;
    int factor = 1;
    int find(int key) const { return key * factor; }
};
std::string to_key(const Repository& repository) {
    return std::to_string(repository.id);
}

}  // namespace cached_test_app

template <>
inline constexpr bool sc::ignored_in_key<cached_test_app::Log> = true;

namespace cached_test {

TEST_CASE("the first call runs, equal arguments are served, others run again", "[cached]") {
    sc::SmartCache<> cache;
    const auto area = sc::cached<&cached_test_app::area>(cache, {.ttl = 1h, .key_prefix = "geo:"});
    cached_test_app::calls = 0;
    CHECK(area(3.0, 4.0) == 12.0);
    CHECK(area(3.0, 4.0) == 12.0);
    CHECK(cached_test_app::calls == 1);
    CHECK(area(4.0, 3.0) == 12.0);
    CHECK(cached_test_app::calls == 2);
    CHECK(area(3, 4) == 12.0);  // converted to the parameters' type before the key is made
    CHECK(cached_test_app::calls == 2);
}

TEST_CASE("a callable is cached under the name it is given", "[cached]") {
    sc::SmartCache<> cache;
    int runs = 0;
    const auto find = sc::cached(cache, "find_user", [&](int id) {
        ++runs;
        return "user " + std::to_string(id);
    });
    CHECK(find(42) == "user 42");
    CHECK(find(42) == "user 42");
    CHECK(runs == 1);
    CHECK(cache.exists(find.key(42)));
    CHECK(find.invalidate(42));
    CHECK_FALSE(find.invalidate(42));
    CHECK(find(42) == "user 42");
    CHECK(runs == 2);
    CHECK(find.refresh(42) == "user 42");
    CHECK(runs == 3);
    CHECK(find.uncached(42) == "user 42");
    CHECK(runs == 4);
    CHECK(find(42) == "user 42");
    CHECK(runs == 4);
}

TEST_CASE("arguments and functions never share a key by accident", "[cached][keys]") {
    sc::SmartCache<> cache;
    const auto two = sc::cached(cache, "two", [](std::string a, std::string b) { return a + "|" + b; });
    CHECK(two("ab", "c") == "ab|c");
    CHECK(two("a", "bc") == "a|bc");
    const auto product = sc::cached<&cached_test_app::area>(cache);
    const auto sum = sc::cached<&cached_test_app::other::area>(cache);
    CHECK(product(2, 3) == 6);
    CHECK(sum(2, 3) == 5);
    const auto text =
        sc::cached<static_cast<std::string (*)(const std::string&)>(&cached_test_app::overloaded)>(cache);
    const auto number = sc::cached<static_cast<int (*)(int)>(&cached_test_app::overloaded)>(cache);
    CHECK(text("1") == "1!");
    CHECK(number(1) == 2);
    CHECK(sc::cached<&cached_test_app::area>(cache, {.key_prefix = "x"}).key(1, 2) != product.key(1, 2));
}

TEST_CASE("a call's key is what key() says, however long it is and wherever it outgrows the stack",
          "[cached][keys]") {
    sc::SmartCache<> cache;
    int runs = 0;
    const auto joined =
        sc::cached(cache, "joined", [&runs](const std::string& text, int number, const std::string& more) {
            ++runs;
            return text + std::to_string(number) + more;
        });
    for (std::size_t size = 0; size < 600; ++size) {
        CAPTURE(size);
        const std::string text(size, 'x');
        const std::string more = size % 3 == 0 ? std::string(size, 'y') : std::string();
        REQUIRE(joined(text, -7, more) == text + "-7" + more);
        REQUIRE(cache.get<std::string>(joined.key(text, -7, more)));
    }
    CHECK(runs == 600);
}

TEST_CASE("optional results are negative entries", "[cached][negative]") {
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.clock = &clock}};
    int runs = 0;
    const auto find = sc::cached(cache, "find",
                                 [&](int id) -> std::optional<int> {
                                     ++runs;
                                     return id > 0 ? std::optional<int>(id) : std::nullopt;
                                 },
                                 {.negative_ttl = 10s});
    CHECK(find(1) == 1);
    CHECK(find(-1) == std::nullopt);
    CHECK(find(-1) == std::nullopt);
    CHECK(runs == 2);
    clock.advance(10s);
    CHECK(find(-1) == std::nullopt);
    CHECK(runs == 3);
}

TEST_CASE("exceptions pass through and nothing is stored", "[cached]") {
    sc::SmartCache<> cache;
    int runs = 0;
    const auto fail = sc::cached(cache, "fail", [&](int) -> int {
        ++runs;
        throw std::out_of_range("no");
    });
    CHECK_THROWS_AS(fail(1), std::out_of_range);
    CHECK_THROWS_AS(fail(1), std::out_of_range);
    CHECK(runs == 2);
}

TEST_CASE("member functions take their object first, and it is part of the key", "[cached]") {
    sc::SmartCache<> cache;
    const auto find = sc::cached<&cached_test_app::Repository::find>(cache);
    const cached_test_app::Repository one{.id = 1, .factor = 2};
    const cached_test_app::Repository two{.id = 2, .factor = 3};
    CHECK(find(one, 5) == 10);
    CHECK(find(two, 5) == 15);
    CHECK(find(one, 5) == 10);
}

TEST_CASE("noexcept functions, generic and move-only callables work", "[cached]") {
    sc::SmartCache<> cache;
    cached_test_app::calls = 0;
    const auto quiet = sc::cached<&cached_test_app::quiet>(cache);
    CHECK(quiet(3) == 3);
    CHECK(quiet(3) == 3);
    CHECK(cached_test_app::calls == 1);
    const auto add = sc::cached<int(int, int)>(cache, "add", [](auto a, auto b) { return a + b; });
    CHECK(add(1, 2) == 3);
    const auto owns = sc::cached(cache, "owns", [p = std::make_unique<int>(5)](int x) { return *p + x; });
    CHECK(owns(1) == 6);
}

TEST_CASE("types that are ignored in keys do not matter", "[cached][keys]") {
    sc::SmartCache<> cache;
    cached_test_app::ignored_logger_calls = 0;
    const auto f = sc::cached<&cached_test_app::with_log>(cache);
    CHECK(f(cached_test_app::Log{}, 1) == 1);
    CHECK(f(cached_test_app::Log{}, 1) == 1);
    CHECK(cached_test_app::ignored_logger_calls == 1);
}

TEST_CASE("memory-only results come as pinned lookups, views as owning values", "[cached]") {
    sc::SmartCache<> cache;
    const auto make =
        sc::cached(cache, "make", [](int x) { return sc::memory_only(std::make_unique<int>(x)); });
    const sc::Lookup<std::unique_ptr<int>> pinned = make(4);
    CHECK(**pinned == 4);
    const auto name = sc::cached(cache, "name", [](int) { return std::string_view("static"); });
    const std::string text = name(1);
    CHECK(text == "static");
}

TEST_CASE("a recursive cached function does not deadlock", "[cached]") {
    sc::SmartCache<> cache;
    std::function<long(int)> fib;
    const auto cached_fib = sc::cached<long(int)>(
        cache, "fib", [&](int n) -> long { return n < 2 ? n : fib(n - 1) + fib(n - 2); });
    fib = cached_fib;
    CHECK(cached_fib(60) == 1548008755920L);
}

TEST_CASE("without a cache the default one is used, as it is at the call", "[cached][default]") {
    sc::reset_default_cache();
    const auto area = sc::cached<&cached_test_app::area>();
    cached_test_app::calls = 0;
    CHECK(area(1, 2) == 2);
    CHECK(area(1, 2) == 2);
    CHECK(cached_test_app::calls == 1);
    sc::reset_default_cache();
    CHECK(area(1, 2) == 2);
    CHECK(cached_test_app::calls == 2);
    int runs = 0;
    const auto named = sc::cached("named", [&](int x) { return ++runs + x; });
    CHECK(named(1) == named(1));
    CHECK(runs == 1);
    sc::reset_default_cache();
}

TEST_CASE("concurrent calls with equal arguments share one run", "[cached][threads]") {
    sc::SmartCache<> cache;
    std::atomic<int> runs{0};
    std::atomic<bool> release{false};
    const auto slow = sc::cached(cache, "slow", [&](int x) {
        runs.fetch_add(1);
        while (!release.load()) std::this_thread::yield();
        return x;
    });
    std::vector<std::thread> pool;
    std::atomic<int> sum{0};
    for (int t = 0; t < 4; ++t) pool.emplace_back([&] { sum.fetch_add(slow(5)); });
    while (sc::detail::WaitGraph::instance().waiting() < 3) std::this_thread::yield();
    release.store(true);
    for (std::thread& thread : pool) thread.join();
    CHECK(runs.load() == 1);
    CHECK(sum.load() == 20);
}

}  // namespace cached_test
