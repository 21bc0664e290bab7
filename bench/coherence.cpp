// What coherence between processes costs, and how long a change takes to reach the others.
//
//     redis-server --port 7777 --save "" &
//     build/release/bench/coherence [--url redis://127.0.0.1:7777] [--messages 5000] [--rounds 100]
//
// Latency: from the call of `erase` in one cache until the value has left another one's memory. Sets: of this library with and
// without coherence, next to plain SETs over hiredis, alone and in pipelines of 64, in turns. Hits in memory with and without.
//
// With a redis+cluster:// URL, which names all masters, the plain SETs go to the master of each key, over connections of their own
// to all of them.

#include <hiredis/hiredis.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <smartcache/codec/bytes.hpp>
#include <smartcache/facade/smart_cache.hpp>
#include <smartcache/redis/url.hpp>

#include "contest.hpp"

namespace {

namespace sc = smartcache;
using Cache = sc::SmartCache<sc::BytesCodec>;
using Steady = std::chrono::steady_clock;

struct Settings {
    std::string url = "redis://127.0.0.1:7777";
    std::size_t messages = 5000;
    std::size_t rounds = 100;
};

sc::Config config_for(const Settings& settings, sc::Coherence coherence) {
    return {.redis = {.enabled = true,
                      .url = settings.url,
                      .timeout = std::chrono::seconds(2),
                      .coherence = coherence},
            .key_prefix = coherence == sc::Coherence::off ? "bench-off" : "bench"};
}

void print_latency(const char* what, std::vector<double> micros) {
    std::sort(micros.begin(), micros.end());
    const auto at = [&](double part) {
        return micros[static_cast<std::size_t>(static_cast<double>(micros.size() - 1) * part)];
    };
    std::printf("%-40s p50 %7.1f us   p90 %7.1f us   p99 %7.1f us   max %7.1f us\n", what, at(0.5), at(0.9),
                at(0.99), micros.back());
}

/// From the call in one cache to the end of the value in another one's memory.
void measure_messages(const Settings& settings) {
    std::atomic<Steady::rep> gone{0};
    sc::Config config = config_for(settings, sc::Coherence::publish);
    Cache writer(config);
    config.listener = [&](const sc::Event& event) {
        if (event.kind == sc::EventKind::removed) gone.store(Steady::now().time_since_epoch().count());
    };
    Cache reader(config);
    std::vector<double> erases;
    for (std::size_t i = 0; i < settings.messages; ++i) {
        (void)writer.set("k", "value");
        // The message about that must have passed before the copy is made.
        while (reader.stats().foreign_changes < 2 * i + 1)
            std::this_thread::sleep_for(std::chrono::microseconds(20));
        if (!reader.get<std::string>("k") || !reader.try_get<std::string>("k"))
            throw std::runtime_error("no copy to drop");
        gone = 0;
        const auto begun = Steady::now();
        (void)writer.erase("k");
        while (gone.load() == 0) std::this_thread::sleep_for(std::chrono::microseconds(20));
        erases.push_back(std::chrono::duration<double, std::micro>(
                             Steady::time_point(Steady::duration(gone.load())) - begun)
                             .count());
    }
    print_latency("erase here, gone there", std::move(erases));
    const sc::Latency own = writer.stats().redis.coherence.latency;
    std::printf("%-40s p50 %7.1f us                     p99 %7.1f us   max %7.1f us\n",
                "own messages, from change to echo",
                std::chrono::duration<double, std::micro>(own.p50).count(),
                std::chrono::duration<double, std::micro>(own.p99).count(),
                std::chrono::duration<double, std::micro>(own.max).count());
}

/// Plain SETs, each thread over connections of its own, one to each server.
class Hiredis {
  public:
    Hiredis(const Settings& settings, int threads, const std::vector<std::string>& keys) : keys_(keys) {
        std::string problem;
        const auto url = sc::parse_redis_url(settings.url, problem);
        if (!url || url->hosts.empty())
            throw std::runtime_error("no URL of a server or a cluster: " + problem);
        for (int i = 0; i < threads; ++i) {
            contexts_.emplace_back();
            for (const auto& host : url->hosts) {
                contexts_.back().emplace_back(::redisConnect(host.name.c_str(), host.port));
                if (contexts_.back().back() == nullptr || contexts_.back().back()->err != 0)
                    throw std::runtime_error("no Redis at " + settings.url);
            }
        }
        for (const std::string& key : keys) servers_.push_back(server_of(key));
    }
    /// @param key  which one of those that it was made with
    void set(std::size_t thread, std::size_t key, std::string_view value) {
        append(thread, key, value);
        take(thread, key);
    }
    void append(std::size_t thread, std::size_t key, std::string_view value) {
        ::redisAppendCommand(contexts_[thread][servers_[key]].get(), "SET %b %b PX 86400000",
                             keys_[key].data(), keys_[key].size(), value.data(), value.size());
    }
    void take(std::size_t thread, std::size_t key) {
        if (answer(contexts_[thread][servers_[key]].get())->type == REDIS_REPLY_ERROR)
            throw std::runtime_error("SET failed");
    }

  private:
    struct Free {
        void operator()(redisContext* context) const noexcept { ::redisFree(context); }
        void operator()(redisReply* reply) const noexcept { ::freeReplyObject(reply); }
    };
    static std::unique_ptr<redisReply, Free> answer(redisContext* context) {
        void* reply = nullptr;
        if (::redisGetReply(context, &reply) != REDIS_OK) throw std::runtime_error("no answer");
        return std::unique_ptr<redisReply, Free>(static_cast<redisReply*>(reply));
    }
    /// The one that does not name another one.
    [[nodiscard]] std::size_t server_of(const std::string& key) {
        for (std::size_t i = 0; i < contexts_[0].size(); ++i) {
            ::redisAppendCommand(contexts_[0][i].get(), "GET %b", key.data(), key.size());
            if (answer(contexts_[0][i].get())->type != REDIS_REPLY_ERROR) return i;
        }
        throw std::runtime_error("the URL has to name all masters");
    }

    const std::vector<std::string>& keys_;
    std::vector<std::vector<std::unique_ptr<redisContext, Free>>> contexts_;
    std::vector<std::size_t> servers_;
};

void measure_sets(const Settings& settings, int threads) {
    Cache with(config_for(settings, sc::Coherence::publish));
    Cache without(config_for(settings, sc::Coherence::off));
    const std::string value(1024, 'v');
    constexpr std::size_t batch = 64;
    std::vector<std::string> keys;
    for (std::size_t i = 0; i < 4096; ++i) keys.push_back("key:" + std::to_string(i));
    Hiredis raw(settings, threads, keys);
    const auto index = [&](std::size_t thread, std::size_t i) { return (thread * 1024 + i) % keys.size(); };
    const auto key = [&](std::size_t thread, std::size_t i) -> const std::string& {
        return keys[index(thread, i)];
    };
    {
        bench::Contest contest("set of 1 KiB, " + std::to_string(threads) + " threads", threads,
                               settings.rounds, std::chrono::milliseconds(20),
                               {.step = 20, .warm_up_calls = 20});
        const std::size_t base = contest.add("hiredis, one SET at a time", [&](std::size_t t, std::size_t i) {
            raw.set(t, index(t, i), value);
        });
        const std::size_t off = contest.add(
            "SmartCache, coherence off",
            [&](std::size_t t, std::size_t i) { (void)without.set(key(t, i), value); }, base);
        contest.add(
            "SmartCache, coherent", [&](std::size_t t, std::size_t i) { (void)with.set(key(t, i), value); },
            off);
        contest.run();
    }
    bench::Contest contest("64 sets of 1 KiB, " + std::to_string(threads) + " threads", threads,
                           settings.rounds, std::chrono::milliseconds(20), {.step = 1, .warm_up_calls = 1});
    const auto pairs = [&](std::size_t t, std::size_t i) {
        std::vector<std::pair<std::string_view, std::string_view>> all;
        for (std::size_t k = 0; k < batch; ++k) all.emplace_back(key(t, i * batch + k), value);
        return all;
    };
    const std::size_t base = contest.add("hiredis, a pipeline of 64 SETs", [&](std::size_t t, std::size_t i) {
        for (std::size_t k = 0; k < batch; ++k) raw.append(t, index(t, i * batch + k), value);
        for (std::size_t k = 0; k < batch; ++k) raw.take(t, index(t, i * batch + k));
    });
    contest.add(
        "set_many, coherence off", [&](std::size_t t, std::size_t i) { (void)without.set_many(pairs(t, i)); },
        base);
    contest.add(
        "set_many, coherent", [&](std::size_t t, std::size_t i) { (void)with.set_many(pairs(t, i)); }, base,
        "at most 2.5x");
    contest.run();
}

void measure_hits(const Settings& settings) {
    Cache with(config_for(settings, sc::Coherence::publish));
    Cache without(config_for(settings, sc::Coherence::off));
    std::vector<std::string> keys;
    for (std::size_t i = 0; i < 1000; ++i) keys.push_back("key:" + std::to_string(i));
    for (const std::string& key : keys) {
        (void)with.set(key, key);
        (void)without.set(key, key);
    }
    bench::Contest contest("get of what is in memory", 1, 3 * settings.rounds);
    const std::size_t base = contest.add("coherence off", [&](std::size_t, std::size_t i) {
        bench::keep(without.get<std::string_view>(keys[i % keys.size()]));
    });
    contest.add(
        "coherent",
        [&](std::size_t, std::size_t i) { bench::keep(with.get<std::string_view>(keys[i % keys.size()])); },
        base, "1.00 +- 0.03");
    contest.run();
}

}  // namespace

int main(int argc, char** argv) {
    Settings settings;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string_view name = argv[i];
        if (name == "--url") settings.url = argv[i + 1];
        if (name == "--messages") settings.messages = std::strtoul(argv[i + 1], nullptr, 10);
        if (name == "--rounds") settings.rounds = std::strtoul(argv[i + 1], nullptr, 10);
    }
    try {
        measure_messages(settings);
        measure_hits(settings);
        for (const int threads : {1, 2}) measure_sets(settings, threads);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
