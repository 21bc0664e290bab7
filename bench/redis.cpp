// What reading from Redis costs, next to hiredis on the same server.
//
//     redis-server --port 7777 --unixsocket /tmp/redis-7777.sock --save "" &
//     build/release/bench/redis [--url redis://127.0.0.1:7777] [--rounds 200] [--parts get,many,promotion]
//
// `get` of one key from Redis, without L1, for values of several sizes, next to GET; `get_many` of 100 small ones next to MGET and to
// single gets; and what it costs more when L1 takes a copy. In turns. With a unix:// URL all of them use that socket.

#include <hiredis/hiredis.h>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <smartcache/codec/bytes.hpp>
#include <smartcache/facade/smart_cache.hpp>
#include <smartcache/redis/url.hpp>

#include "contest.hpp"

namespace {

namespace sc = smartcache;
using Cache = sc::SmartCache<sc::BytesCodec>;
using std::chrono::milliseconds;

struct Settings {
    std::string url = "redis://127.0.0.1:7777";
    std::size_t rounds = 200;
    std::string parts = "get,many,promotion";
};

/// @param entries  that memory holds; 0: it has none
sc::Config config_for(const Settings& settings, std::size_t entries) {
    sc::Config config{.redis = {.enabled = true, .url = settings.url, .timeout = std::chrono::seconds(2)},
                      .key_prefix = "bench"};
    config.memory.enabled = entries != 0;
    if (entries != 0) config.memory.capacity = entries;
    config.tier_required = true;
    return config;
}

/// Blocking, over one connection.
class Hiredis {
  public:
    explicit Hiredis(const Settings& settings) {
        std::string problem;
        const auto url = sc::parse_redis_url(settings.url, problem);
        if (!url) throw std::runtime_error(problem);
        context_.reset(url->hosts.empty() ? ::redisConnectUnix(url->path.c_str())
                                          : ::redisConnect(url->hosts[0].name.c_str(), url->hosts[0].port));
        if (!context_ || context_->err != 0) throw std::runtime_error("no Redis at " + settings.url);
    }
    void set(std::string_view key, std::string_view value) {
        take(::redisCommand(context_.get(), "SET %b %b PX 86400000", key.data(), key.size(), value.data(),
                            value.size()));
    }
    /// @return bytes of the value
    std::size_t get(std::string_view key) {
        return take(::redisCommand(context_.get(), "GET %b", key.data(), key.size()))->len;
    }
    /// @return values
    std::size_t mget(const std::vector<std::string>& keys) {
        std::vector<const char*> words{"MGET"};
        std::vector<std::size_t> sizes{4};
        for (const std::string& key : keys) {
            words.push_back(key.data());
            sizes.push_back(key.size());
        }
        return take(::redisCommandArgv(context_.get(), static_cast<int>(words.size()), words.data(),
                                       sizes.data()))
            ->elements;
    }

  private:
    struct Free {
        void operator()(redisContext* context) const noexcept { ::redisFree(context); }
        void operator()(redisReply* reply) const noexcept { ::freeReplyObject(reply); }
    };
    std::unique_ptr<redisReply, Free> take(void* reply) {
        std::unique_ptr<redisReply, Free> taken(static_cast<redisReply*>(reply));
        if (!taken || taken->type == REDIS_REPLY_ERROR) throw std::runtime_error("Redis refuses");
        return taken;
    }
    std::unique_ptr<redisContext, Free> context_;
};

void check(bool right, const char* what) {
    if (!right) throw std::runtime_error(what);
}

std::vector<std::string> keys_of(const std::string& name, std::size_t count) {
    std::vector<std::string> keys;
    for (std::size_t i = 0; i < count; ++i) keys.push_back(name + std::to_string(i));
    return keys;
}

void measure_gets(const Settings& settings, std::size_t size, const char* aim) {
    Hiredis raw(settings);
    Cache cache(config_for(settings, 0));
    const std::string value(size, 'v');
    const std::vector<std::string> keys = keys_of("get:" + std::to_string(size) + ":", 64);
    for (const std::string& key : keys) {
        raw.set(key, value);
        check(cache.set(key, value), "a value was not stored");
    }
    bench::Contest contest("get of " + std::to_string(size) + " bytes", 1, settings.rounds, milliseconds(5),
                           {.step = 5, .warm_up_calls = 5});
    const std::size_t base = contest.add("hiredis, GET", [&](std::size_t, std::size_t i) {
        check(raw.get(keys[i % keys.size()]) == size, "hiredis found another value");
    });
    contest.add(
        "get<std::string>, nothing in memory",
        [&](std::size_t, std::size_t i) {
            const auto found = cache.get<std::string>(keys[i % keys.size()]);
            check(found && found->size() == size, "a value was not found");
        },
        base, aim);
    contest.run();
}

void measure_many(const Settings& settings) {
    Hiredis raw(settings);
    Cache cache(config_for(settings, 0));
    const std::string value(32, 'v');
    const std::vector<std::string> keys = keys_of("many:", 100);
    for (const std::string& key : keys) {
        raw.set(key, value);
        check(cache.set(key, value), "a value was not stored");
    }
    bench::Contest contest("100 keys with values of 32 bytes", 1, settings.rounds, milliseconds(20),
                           {.step = 1, .warm_up_calls = 1});
    const std::size_t base = contest.add("hiredis, MGET", [&](std::size_t, std::size_t) {
        check(raw.mget(keys) == keys.size(), "hiredis found less");
    });
    const std::size_t many = contest.add(
        "get_many<std::string>",
        [&](std::size_t, std::size_t) {
            const auto found = cache.get_many<std::string>(keys);
            for (const auto& each : found) check(static_cast<bool>(each), "a value was not found");
        },
        base, "at most 1.18x");
    contest.add(
        "100 times get<std::string>",
        [&](std::size_t, std::size_t) {
            for (const std::string& key : keys)
                check(cache.get<std::string>(key).has_value(), "a value was not found");
        },
        many, "at least 20x");
    contest.run();
}

void measure_promotion(const Settings& settings) {
    Hiredis raw(settings);
    // As many as a memory may well have: one of a few hundred entries tries out every request under six configurations of
    // its policy, which is half of what a promotion then takes.
    constexpr std::size_t entries = 10'000;
    Cache without(config_for(settings, 0));
    Cache with(config_for(settings, entries));
    const std::string value(100, 'v');
    const std::vector<std::string> keys = keys_of("up:", 8 * entries);
    for (const std::string& key : keys) {
        raw.set(key, value);
        check(with.set(key, value), "a value was not stored");
    }
    bench::Contest contest("get of 100 bytes that are not in memory", 1, settings.rounds, milliseconds(5),
                           {.step = 5, .warm_up_calls = 5});
    const std::size_t base = contest.add("hiredis, GET", [&](std::size_t, std::size_t i) {
        check(raw.get(keys[i % keys.size()]) == value.size(), "hiredis found another value");
    });
    const std::size_t plain = contest.add(
        "get<std::string>, no memory",
        [&](std::size_t, std::size_t i) {
            check(without.get<std::string>(keys[i % keys.size()]).has_value(), "a value was not found");
        },
        base);
    // One after the other: of so many few are in memory when it is their turn.
    std::size_t next = 0;
    const auto promoted = [&](std::size_t, std::size_t) {
        check(with.get<std::string>(keys[next++ % keys.size()]).has_value(), "a value was not found");
    };
    contest.add("get<std::string>, copied into memory", promoted, base, "at most 3000 ns more");
    contest.add("the same, over a get without memory", promoted, plain);
    contest.run();
    const auto stats = with.stats();
    std::printf("    %llu of %llu were in memory\n", static_cast<unsigned long long>(stats.memory.hits),
                static_cast<unsigned long long>(stats.memory.hits + stats.memory.misses));
}

}  // namespace

int main(int argc, char** argv) {
    Settings settings;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string_view name = argv[i];
        if (name == "--url") settings.url = argv[i + 1];
        if (name == "--rounds") settings.rounds = std::strtoul(argv[i + 1], nullptr, 10);
        if (name == "--parts") settings.parts = argv[i + 1];
    }
    const auto wanted = [&](const char* part) { return settings.parts.find(part) != std::string::npos; };
    try {
        if (wanted("get")) {
            for (const std::size_t size : {16UL, 1024UL, 16384UL})
                measure_gets(settings, size, "at most 1.15x");
            measure_gets(settings, 262144, "at most 0.7x");
        }
        if (wanted("many")) measure_many(settings);
        if (wanted("promotion")) measure_promotion(settings);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
