// Collapsed forwarding: concurrent misses share one request to the origin, and never more than they may
// share.
#include <smartcache/http/middleware.hpp>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "http/support/site.hpp"
#include "support/catch.hpp"
#include "support/eventually.hpp"

namespace middleware_collapse_test {

using namespace smartcache;
using namespace smartcache::http;
using namespace std::chrono_literals;
using smartcache_test::MapCache;
using smartcache_test::Site;

namespace {

/// Runs its tasks when the test says so.
class ManualExecutor final : public Executor {
  public:
    bool submit(Task task) override {
        if (refuse) return false;
        tasks.push_back(std::move(task));
        return true;
    }
    bool submit_after(Duration delay, Task task) override {
        if (!has_timer) return false;
        delays.push_back(delay);
        timers.push_back(std::move(task));
        return true;
    }
    void run() {
        auto now = std::exchange(tasks, {});
        for (Task& task : now) task();
    }
    /// All delays have passed.
    void time_out() {
        auto now = std::exchange(timers, {});
        for (Task& task : now) task();
    }
    std::vector<Task> tasks, timers;
    std::vector<Duration> delays;
    bool refuse = false, has_timer = true;
};

/// Transactions begun without blocking, in the order in which they became ready.
struct Ready {
    std::vector<Transaction> list;
    auto callback() {
        return [this](Transaction t) { list.push_back(std::move(t)); };
    }
};

const Headers fresh{{"Cache-Control", "max-age=60"}};

}  // namespace

TEST_CASE("waiters get the leader's response from the store, through the executor", "[http][collapse]") {
    Site site;
    ManualExecutor executor;
    Ready ready;
    for (int i = 0; i < 3; ++i) site.web.begin(Site::request("GET", "/a"), executor, ready.callback());
    REQUIRE(ready.list.size() == 1);
    REQUIRE_FALSE(ready.list[0].answered());
    (void)ready.list[0].finish(Response{200, fresh, "one"});
    CHECK(ready.list.size() == 1);  // not in the leader's thread
    executor.run();
    REQUIRE(ready.list.size() == 3);
    for (std::size_t i : {1U, 2U}) {
        REQUIRE(ready.list[i].answered());
        CHECK(ready.list[i].response().body == "one");
        CHECK(ready.list[i].response().headers.get("Cache-Status") == "SmartCache; hit; ttl=60; collapsed");
    }
    const auto stats = site.web.counters();
    CHECK(stats.collapsed == 2);
    CHECK(stats.cache_hits == 2);
    CHECK(stats.cache_misses == 1);
}

TEST_CASE("who has waited for collapse_timeout goes to the origin alone, once", "[http][collapse]") {
    MiddlewareOptions options = Site::plain();
    options.collapse_timeout = 1234ms;
    Site site(options);
    ManualExecutor executor;
    Ready ready;
    for (int i = 0; i < 3; ++i) site.web.begin(Site::request("GET", "/a"), executor, ready.callback());
    REQUIRE(ready.list.size() == 1);
    CHECK(executor.delays == std::vector<Duration>{1234ms});  // one timer for all
    executor.time_out();
    executor.time_out();
    CHECK(executor.timers.empty());
    REQUIRE(ready.list.size() == 3);  // both, not one behind the other
    CHECK_FALSE(ready.list[1].answered());
    CHECK_FALSE(ready.list[2].answered());
    (void)ready.list[0].finish(Response{200, fresh, "one"});
    executor.run();
    executor.time_out();
    CHECK(ready.list.size() == 3);
    (void)ready.list[1].finish(Response{200, fresh, "two"});
    CHECK(site.get("/a").body == "two");
}

TEST_CASE("a timer that comes after the leader's end does nothing, and keeps nothing", "[http][collapse]") {
    Site site;
    ManualExecutor executor;
    std::vector<Transaction> list;
    const auto kept = std::make_shared<int>(0);
    for (int i = 0; i < 2; ++i)
        site.web.begin(Site::request("GET", "/a"), executor,
                       [&list, kept](Transaction t) { list.push_back(std::move(t)); });
    REQUIRE(list.size() == 1);
    (void)list[0].finish(Response{200, fresh, "one"});
    executor.run();
    REQUIRE(list.size() == 2);
    CHECK(executor.timers.size() == 1);
    CHECK(kept.use_count() == 1);
    executor.time_out();
    CHECK(list.size() == 2);
    CHECK(list[1].response().body == "one");
}

TEST_CASE("waits that have ended leave no timers behind", "[http][collapse]") {
    Site site;
    ManualExecutor executor;
    Ready ready;
    const auto ask = [&](int i) {
        site.web.begin(Site::request("GET", "/" + std::to_string(i)), executor, ready.callback());
    };
    const auto wait_and_end = [&](int i) {
        const std::size_t leader = ready.list.size();
        ask(i);
        ask(i);
        REQUIRE(ready.list.size() == leader + 1);
        (void)ready.list[leader].finish(Response{200, fresh, "one"});
        executor.run();
        CHECK(ready.list.size() == leader + 2);
    };
    for (int i = 0; i < 100; ++i) wait_and_end(i);
    CHECK(executor.timers.size() == 1);

    // It serves the next ones: who waits longest is first.
    const std::size_t before = ready.list.size();
    for (const int i : {100, 100, 101, 101}) ask(i);
    CHECK(ready.list.size() == before + 2);
    executor.time_out();  // that of a wait which has ended
    CHECK(ready.list.size() == before + 2);
    executor.time_out();
    CHECK(ready.list.size() == before + 3);
    CHECK(ready.list.back().request().path == "/100");
    executor.time_out();
    CHECK(ready.list.size() == before + 4);
    CHECK(executor.timers.empty());

    wait_and_end(102);
    CHECK(executor.timers.size() == 1);
    executor.timers.clear();  // dropped: nobody waits for it
    wait_and_end(103);
    CHECK(executor.timers.size() == 1);
}

TEST_CASE("a timer may outlive the middleware", "[http][collapse]") {
    ManualExecutor executor;
    {
        Site site;
        Ready ready;
        for (int i = 0; i < 2; ++i) site.web.begin(Site::request("GET", "/a"), executor, ready.callback());
    }
    executor.tasks.clear();
    CHECK(executor.timers.size() == 1);
    executor.time_out();
}

TEST_CASE("each wait ends once, whether its leader or its time is first", "[http][collapse][threads]") {
    MiddlewareOptions options = Site::plain();
    options.collapse_timeout = 1ms;
    Site site(options);
    constexpr int rounds = 200;
    constexpr int requests = 4;
    std::atomic<int> done{0};
    std::atomic<int> leaders{0};
    {
        std::mutex mutex;
        std::condition_variable all_done;
        ThreadPool pool(2);  // outlives the transactions
        ThreadPool origin(2);
        for (int round = 0; round < rounds; ++round) {
            for (int i = 0; i < requests; ++i) {
                const auto ready = [&, i](Transaction t) {
                    if (!t.answered()) {
                        ++leaders;
                        auto asked = std::make_shared<Transaction>(std::move(t));
                        const bool taken = origin.submit([asked, i] {
                            for (int n = 0; n < 100 * i; ++n) std::this_thread::yield();
                            (void)asked->finish(Response{200, fresh, "one"});
                        });
                        if (!taken) (void)asked->fail();
                    }
                    const std::lock_guard lock(mutex);
                    ++done;
                    all_done.notify_all();
                };
                site.web.begin(Site::request("GET", "/" + std::to_string(round)), pool, ready);
            }
            std::unique_lock lock(mutex);
            all_done.wait_for(lock, smartcache_test::very_long,
                              [&] { return done == (round + 1) * requests; });
            if (done != (round + 1) * requests) break;
        }
    }
    CHECK(done == rounds * requests);
    CHECK(leaders >= rounds);
}

TEST_CASE("an executor without a timer waits as long as the leader takes", "[http][collapse]") {
    Site site;
    ManualExecutor executor;
    executor.has_timer = false;
    Ready ready;
    for (int i = 0; i < 2; ++i) site.web.begin(Site::request("GET", "/a"), executor, ready.callback());
    CHECK(ready.list.size() == 1);
    (void)ready.list[0].finish(Response{200, fresh, "one"});
    executor.run();
    REQUIRE(ready.list.size() == 2);
    CHECK(ready.list[1].answered());
}

TEST_CASE("a response that may not be shared sends every waiter on alone, and is remembered",
          "[http][collapse]") {
    for (const char* control : {"no-store", "private", "max-age=0", "no-cache"}) {
        CAPTURE(control);
        Site site;
        ManualExecutor executor;
        Ready ready;
        for (int i = 0; i < 3; ++i) site.web.begin(Site::request("GET", "/a"), executor, ready.callback());
        REQUIRE(ready.list.size() == 1);
        (void)ready.list[0].finish(Response{200, {{"Cache-Control", control}, {"ETag", "\"1\""}}, "mine"});
        executor.run();
        REQUIRE(ready.list.size() == 3);  // both at once, not one behind the other
        CHECK_FALSE(ready.list[1].answered());
        CHECK_FALSE(ready.list[2].answered());
        // Newcomers do not queue up either, for a while.
        for (int i = 0; i < 3; ++i) site.web.begin(Site::request("GET", "/a"), executor, ready.callback());
        CHECK(ready.list.size() == 6);
    }
}

TEST_CASE("an abandoned leader is replaced by one of its waiters", "[http][collapse]") {
    Site site;
    ManualExecutor executor;
    Ready ready;
    for (int i = 0; i < 3; ++i) site.web.begin(Site::request("GET", "/a"), executor, ready.callback());
    ready.list.clear();
    executor.run();
    REQUIRE(ready.list.size() == 1);
    CHECK_FALSE(ready.list[0].answered());
    CHECK_FALSE(ready.list[0].fail());  // nothing stale to serve; the next waiter takes over
    executor.run();
    REQUIRE(ready.list.size() == 2);
    CHECK_FALSE(ready.list[1].answered());
}

TEST_CASE("R23: a waiter takes only what its own request may reuse", "[http][collapse]") {
    Site site;
    ManualExecutor executor;
    Ready ready;
    const auto ask = [&](Headers headers) {
        site.web.begin(Site::request("GET", "/a", std::move(headers)), executor, ready.callback());
    };
    ask({{"X", "1"}});
    ask({{"X", "2"}});
    REQUIRE(ready.list.size() == 1);
    (void)ready.list[0].finish(Response{200, {{"Cache-Control", "max-age=60"}, {"Vary", "X"}}, "for 1"});
    executor.run();
    REQUIRE(ready.list.size() == 2);
    CHECK_FALSE(ready.list[1].answered());
    // Now that the Vary is known, other variants do not wait for one another.
    ask({{"X", "3"}});
    CHECK(ready.list.size() == 3);
    ask({{"X", "3"}});
    CHECK(ready.list.size() == 3);
}

TEST_CASE("R23: only full, unconditional, anonymous GETs lead", "[http][collapse]") {
    for (const Request& request :
         {Site::request("HEAD", "/a"), Site::request("GET", "/a", {{"If-None-Match", "\"1\""}}),
          Site::request("GET", "/a", {{"Range", "bytes=0-1"}}),
          Site::request("GET", "/a", {{"Authorization", "x"}})}) {
        Site site;
        ManualExecutor executor;
        Ready ready;
        site.web.begin(request, executor, ready.callback());
        site.web.begin(Site::request("GET", "/a"), executor, ready.callback());
        CHECK(ready.list.size() == 2);
    }
    // Who reloads does not wait for what others asked before.
    Site site;
    ManualExecutor executor;
    Ready ready;
    site.web.begin(Site::request("GET", "/a"), executor, ready.callback());
    site.web.begin(Site::request("GET", "/a", {{"Cache-Control", "no-cache"}}), executor, ready.callback());
    CHECK(ready.list.size() == 2);
}

TEST_CASE("who comes after an invalidation does not wait for an older request (R2)", "[http][collapse]") {
    Site site;
    ManualExecutor executor;
    Ready ready;
    site.web.begin(Site::request("GET", "/a"), executor, ready.callback());
    site.answers({}, "", 204);
    site.send(Site::request("POST", "/a"));
    site.web.begin(Site::request("GET", "/a"), executor, ready.callback());
    REQUIRE(ready.list.size() == 2);
    (void)ready.list[1].finish(Response{200, fresh, "new"});
    (void)ready.list[0].finish(Response{200, fresh, "old"});
    CHECK(site.get("/a").body == "new");
}

TEST_CASE("an executor that refuses work does not strand a waiter", "[http][collapse]") {
    Site site;
    ManualExecutor executor;
    executor.refuse = true;
    Ready ready;
    for (int i = 0; i < 2; ++i) site.web.begin(Site::request("GET", "/a"), executor, ready.callback());
    Transaction leader = std::move(ready.list.at(0));
    (void)leader.finish(Response{200, fresh, "one"});
    REQUIRE(ready.list.size() == 2);
    CHECK(ready.list[1].response().body == "one");
}

TEST_CASE("threads that miss together ask the origin once", "[http][collapse][threads]") {
    FakeClock clock;
    MapCache cache(clock);
    MiddlewareOptions options = Site::plain();
    options.collapse_timeout = 60s;
    Middleware web(cache, options);
    constexpr int threads = 8;
    std::atomic<int> asked{0};
    std::atomic<int> arrived{0};
    std::vector<std::string> bodies(threads);
    std::vector<std::thread> pool;
    for (int i = 0; i < threads; ++i)
        pool.emplace_back([&, i] {
            ++arrived;
            const Response r = web.handle(Site::request("GET", "/a"), [&](const Request&) {
                ++asked;
                while (arrived < threads)
                    std::this_thread::yield();  // all have started; whether they wait is their affair
                return Response{200, {{"Cache-Control", "max-age=60"}}, "one"};
            });
            bodies[static_cast<std::size_t>(i)] = r.body.str();
        });
    for (std::thread& t : pool) t.join();
    CHECK(asked == 1);
    for (const std::string& body : bodies) CHECK(body == "one");
    CHECK(web.counters().total_requests == threads);
}

TEST_CASE("a handler that asks the cache for its own resource is not left waiting (R32)",
          "[http][collapse]") {
    Site site;
    int depth = 0;
    std::function<Response(const Request&)> app = [&](const Request& r) {
        if (++depth == 1) return site.web.handle(r, app);
        return Response{200, fresh, "inner"};
    };
    CHECK(site.web.handle(Site::request("GET", "/a"), app).body == "inner");
    CHECK(depth == 2);
}

TEST_CASE("who waits too long goes alone", "[http][collapse]") {
    MiddlewareOptions options = Site::plain();
    options.collapse_timeout = 0ms;
    Site site(options);
    Transaction leader = site.web.begin(Site::request("GET", "/a"));
    std::optional<bool> answered;
    std::thread([&] { answered = site.web.begin(Site::request("GET", "/a")).answered(); }).join();
    CHECK(answered == false);
}

TEST_CASE("collapsing can be switched off", "[http][collapse]") {
    MiddlewareOptions options = Site::plain();
    options.collapse = false;
    Site site(options);
    ManualExecutor executor;
    Ready ready;
    for (int i = 0; i < 3; ++i) site.web.begin(Site::request("GET", "/a"), executor, ready.callback());
    CHECK(ready.list.size() == 3);
}

TEST_CASE(
    "stress: many threads, few resources, invalidations; nobody sees what was invalidated before it asked",
    "[http][collapse][threads]") {
    FakeClock clock;
    MapCache cache(clock);
    Middleware web(cache, Site::plain());
    constexpr int resources = 3;
    std::atomic<int> made[resources] = {};   // versions at the origin
    std::atomic<int> known[resources] = {};  // versions whose POST has returned
    std::atomic<int> wrong{0};
    std::vector<std::thread> pool;
    for (int t = 0; t < 6; ++t)
        pool.emplace_back([&, t] {
            unsigned seed = static_cast<unsigned>(t) * 2654435761U + 1;
            for (int i = 0; i < 3000; ++i) {
                seed = seed * 1664525U + 1013904223U;
                const int n = static_cast<int>(seed >> 24U) % resources;
                const std::string path = "/" + std::to_string(n);
                if ((seed >> 16U) % 8 == 0) {
                    int version = 0;
                    (void)web.handle(Site::request("POST", path), [&](const Request&) {
                        version = ++made[n];
                        return Response{204, {}, {}};
                    });
                    int seen = known[n];
                    while (seen < version && !known[n].compare_exchange_weak(seen, version)) {
                    }
                    continue;
                }
                const int at_least = known[n];
                const Response r = web.handle(Site::request("GET", path), [&](const Request&) {
                    return Response{200, {{"Cache-Control", "max-age=60"}}, std::to_string(made[n])};
                });
                if (std::stoi(r.body.str()) < at_least) ++wrong;
            }
        });
    for (std::thread& t : pool) t.join();
    CHECK(wrong == 0);
    const auto stats = web.counters();
    CHECK(stats.total_requests == 6 * 3000);
    CHECK(stats.cache_hits > 0);
}

}  // namespace middleware_collapse_test
