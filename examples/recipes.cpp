// What one does with a cache, recipe by recipe: values by hand, functions, a source that is slow, related keys, keys as such,
// warming, and who stays when memory is full.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <future>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>
#include <smartcache/smartcache.hpp>
#include <smartcache/testing.hpp>

namespace sc = smartcache;
using namespace std::chrono_literals;

struct Weather {
    std::string city;
    int degrees = 0;
    NLOHMANN_DEFINE_TYPE_INTRUSIVE(Weather, city, degrees)
};

std::uint64_t factorial(unsigned n) {
    std::printf("(computing %u!) ", n);
    return n < 2 ? 1 : n * factorial(n - 1);
}

namespace {

/// What is slow, and what is true. Says when it is asked.
class Database {
  public:
    std::optional<std::string> name(std::string_view id) const {
        std::printf("(asking for %.*s) ", static_cast<int>(id.size()), id.data());
        const auto found = names_.find(id);
        return found == names_.end() ? std::nullopt : std::optional(found->second);
    }
    void rename(std::string_view id, std::string name) { names_[std::string(id)] = std::move(name); }

  private:
    std::map<std::string, std::string, std::less<>> names_{{"7", "Ada"}, {"8", "Grace"}};
};

void values_by_hand() {
    std::printf("- values by hand: any type, with a lifetime of its own\n");
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.memory = {.capacity = 1000, .ttl = 1h}, .clock = &clock}};
    cache.set("weather:oslo", Weather{"Oslo", -3}, 10min);
    if (const auto hit = cache.get<Weather>("weather:oslo"))
        std::printf(
            "%s: %d degrees, for another %lld s\n", hit->city.c_str(), hit->degrees,
            static_cast<long long>(std::chrono::duration_cast<std::chrono::seconds>(hit.ttl()).count()));
    std::printf("of Rome: %s\n", cache.exists("weather:rome") ? "something" : "nothing");
    clock.advance(10min);
    std::printf("of Oslo ten minutes later: %s\n",
                cache.get<Weather>("weather:oslo") ? "something" : "nothing");
    const sc::Stats stats = cache.stats();
    std::printf("%llu hit, %llu miss\n", static_cast<unsigned long long>(stats.hits),
                static_cast<unsigned long long>(stats.misses));
    cache.clear();
}

void functions() {
    std::printf("- functions: the key is made of the name and the arguments\n");
    sc::FakeClock clock;
    sc::SmartCache<> cache{{.background_threads = 1, .clock = &clock}};
    const auto quick = sc::cached<&factorial>(cache, {.ttl = 1h});
    std::printf("3! = %llu\n", static_cast<unsigned long long>(quick(3)));
    std::printf("3! = %llu\n", static_cast<unsigned long long>(quick(3)));
    quick.invalidate(3);
    std::printf("3! = %llu\n", static_cast<unsigned long long>(quick(3)));

    // Who reads a page will want the next one: loaded in the background, and there when it is asked for.
    const auto page =
        sc::cached(cache, "page", [](int n) { return "page " + std::to_string(n); }, {.ttl = 1h});
    std::future<std::string> next = page.async(2);
    std::printf("%s", page(1).c_str());
    next.wait();
    std::printf(", %s, of %llu loads in all\n", page(2).c_str(),
                static_cast<unsigned long long>(cache.stats().loads));

    // Nobody waits for what is asked for often: from 8 min on, a hit has it made anew. `early_beta` does so at random, and the
    // earlier the longer the load took.
    int reports = 0;
    const auto report = [&] {
        return *cache.get_or_compute("report", [&] { return ++reports; },
                                     {.ttl = 10min, .refresh_ahead = 0.8});
    };
    std::printf("report %d", report());
    clock.advance(8min);
    (void)report();
    std::printf(", report %d before the first one ends\n", report());
}

void slow_source() {
    std::printf("- a slow source: aside, through, and what is not there\n");
    sc::SmartCache<> cache;
    Database database;
    // Cache-aside: one load, however many ask at once. That somebody is not there is remembered too, for a shorter time.
    const auto name_of = [&](const std::string& id) {
        return cache
            .get_or_compute("user:" + id + ":name", [&] { return database.name(id); },
                            {.ttl = 5min, .negative_ttl = 30s})
            .value_or("nobody");
    };
    std::printf("%s, ", name_of("7").c_str());
    std::printf("%s\n", name_of("7").c_str());
    std::printf("%s, ", name_of("9").c_str());
    std::printf("%s\n", name_of("9").c_str());
    // Write-through: the source first. What was being loaded meanwhile does not come in over it.
    const auto rename = [&](const std::string& id, const std::string& name) {
        database.rename(id, name);
        cache.set("user:" + id + ":name", name, 5min);
    };
    rename("7", "Augusta");
    std::printf("%s\n", name_of("7").c_str());
    // Warming what must be there: loads only what is not.
    const std::size_t warmed = cache.warm({"user:7:name", "user:8:name"}, [&](std::string_view key) {
        return database.name(key.substr(5, 1));
    });
    std::printf("warmed %zu\n", warmed);
}

void related_keys() {
    std::printf("- related keys: what was made of one thing ends with it\n");
    sc::SmartCache<> cache;
    const sc::EntryOptions of_user_7{.ttl = 1h, .tags = {"user:7"}};
    cache.set("user:7", Weather{"Oslo", 20}, of_user_7);
    cache.set("user:7:posts", std::vector<std::string>{"On the engine"}, of_user_7);
    cache.set("front page", "with a post of user 7", {.ttl = 1h, .tags = {"user:7", "user:8"}});
    cache.set("user:8", "Grace", {.ttl = 1h, .tags = {"user:8"}});
    cache.erase_tag("user:7");
    for (const char* key : {"user:7", "user:7:posts", "front page", "user:8"})
        std::printf("%s: %s\n", key, cache.exists(key) ? "kept" : "ended");
}

void keys() {
    std::printf(
        "- keys: kind, id, part; the same for the same question, and no two questions with one key\n");
    // Filters in whatever order. What is in them cannot pass for the end of a part.
    std::printf("%s\n", sc::canonical_key("GET", "/posts", "tag=b&page=2&author=7").c_str());
    std::printf("%s\n", sc::canonical_key("HEAD", "/posts", "author=7&page=2&tag=b").c_str());
    for (const auto& parts : {std::pair("a b", "c"), std::pair("a", "b c")})
        std::printf("%s\n", sc::KeyText("search").part(parts.first).part(parts.second).text().c_str());
}

/// Hits and misses by kind of key: what an operator looks at first.
class AccessPattern {
  public:
    void operator()(const sc::Event& event) {
        if (event.kind != sc::EventKind::hit && event.kind != sc::EventKind::miss) return;
        const std::lock_guard lock(mutex_);
        auto& [hits, misses] = kinds_[std::string(event.key.substr(0, event.key.find(':')))];
        ++(event.kind == sc::EventKind::hit ? hits : misses);
    }
    void print() const {
        const std::lock_guard lock(mutex_);
        for (const auto& [kind, counts] : kinds_)
            std::printf("%s: %s\n", kind.c_str(),
                        counts.first > 9 * counts.second ? "hits, nearly all" : "misses, mostly");
    }

  private:
    mutable std::mutex mutex_;
    std::map<std::string, std::pair<int, int>> kinds_;
};

/// Nobody computes priorities: the policy sees how often and how lately entries are read, and with a bound on bytes how much
/// room they take. `EntryOptions::weight` is for who knows better: what is dear to make may count for less than it takes.
void full_memory() {
    std::printf("- full memory: what is wanted again stays, what is large and read once goes\n");
    AccessPattern pattern;
    sc::SmartCache<> cache{{.memory = {.capacity_bytes = std::size_t{1} << 20U},
                            .listener = [&pattern](const sc::Event& event) { pattern(event); }}};
    const auto want = [&cache](const std::string& key, std::size_t bytes) {
        (void)cache.get_or_compute(key, [bytes] { return std::string(bytes, 'x'); });
    };
    for (int i = 0; i < 5000; ++i) {
        want("popular:" + std::to_string(i % 100), 1000);  // a tenth of the room
        want("once:" + std::to_string(i), 4000);           // twenty times as much as there is room for
    }
    int stayed = 0;
    for (int i = 0; i < 100; ++i) stayed += cache.exists("popular:" + std::to_string(i)) ? 1 : 0;
    std::printf("%s of the popular entries are there\n", stayed > 95 ? "nearly all" : "too few");
    const sc::Stats stats = cache.stats();
    std::printf("memory is %s its bound, with %s\n",
                stats.memory_usage <= (std::size_t{1} << 20U) ? "within" : "above",
                stats.evictions > 4000 ? "thousands of evictions" : "few evictions");
    pattern.print();
}

}  // namespace

int main() {
    try {
        values_by_hand();
        functions();
        slow_source();
        related_keys();
        keys();
        full_memory();
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "recipes: %s\n", error.what());
        return 1;
    }
}

// Expected output:
// - values by hand: any type, with a lifetime of its own
// Oslo: -3 degrees, for another 600 s
// of Rome: nothing
// of Oslo ten minutes later: nothing
// 1 hit, 1 miss
// - functions: the key is made of the name and the arguments
// (computing 3!) (computing 2!) (computing 1!) 3! = 6
// 3! = 6
// (computing 3!) (computing 2!) (computing 1!) 3! = 6
// page 1, page 2, of 4 loads in all
// report 1, report 2 before the first one ends
// - a slow source: aside, through, and what is not there
// (asking for 7) Ada, Ada
// (asking for 9) nobody, nobody
// Augusta
// (asking for 8) warmed 1
// - related keys: what was made of one thing ends with it
// user:7: ended
// user:7:posts: ended
// front page: ended
// user:8: kept
// - keys: kind, id, part; the same for the same question, and no two questions with one key
// 3:GET 6:/posts 21:author=7&page=2&tag=b
// 3:GET 6:/posts 21:author=7&page=2&tag=b
// search 3:a b 1:c
// search 1:a 3:b c
// - full memory: what is wanted again stays, what is large and read once goes
// nearly all of the popular entries are there
// memory is within its bound, with thousands of evictions
// once: misses, mostly
// popular: hits, nearly all
