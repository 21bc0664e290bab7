#include <smartcache/facade/smart_cache.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <smartcache/codec/json.hpp>
#include <smartcache/core/error.hpp>
#include <smartcache/testing.hpp>

#include "support/catch.hpp"
#include "support/map_tier.hpp"

namespace loads_model_test {

namespace sc = smartcache;
using namespace std::chrono_literals;
using smartcache_test::MapTier;

namespace {

/// Random calls on few keys, one after the other, with all options of loads in all combinations; background work when the
/// dice say so. Every value is a number that is never used twice, so that each one that is served tells when it was made.
class World {
  public:
    explicit World(std::uint32_t seed) : dice_(seed) {
        sc::Config config{.background_threads = 0, .clock = &clock_};
        if (chance(3)) config.memory.enabled = false;
        if (chance(3)) config.memory.capacity = 3;
        std::vector<std::unique_ptr<sc::Tier>> tiers;
        if (!config.memory.enabled || chance(2))
            tiers.push_back(std::make_unique<MapTier>(sc::TierId::disk, &clock_));
        has_tags_ = tiers.empty();
        cache_ = std::make_unique<sc::SmartCache<>>(config, std::move(tiers));
    }

    /// @return what is wrong, or nothing
    std::string run(int steps) {
        for (int i = 0; i < steps && wrong_.empty(); ++i) step();
        return wrong_;
    }

  private:
    static constexpr std::array<std::string_view, 4> names{"a", "b", "c", "d"};

    struct Made {
        std::int64_t at;  // ms
        sc::Duration ttl;
        sc::Duration grace;
    };

    [[nodiscard]] std::uint32_t up_to(std::uint32_t n) { return static_cast<std::uint32_t>(dice_() % n); }
    [[nodiscard]] bool chance(std::uint32_t one_in) { return up_to(one_in) == 0; }
    [[nodiscard]] std::string_view some_key() { return names[up_to(names.size())]; }
    [[nodiscard]] std::int64_t now() const { return clock_.now().time_since_epoch().count(); }

    [[nodiscard]] sc::EntryOptions some_options() {
        sc::EntryOptions options{.ttl = std::chrono::seconds(10 + up_to(20))};
        if (chance(2)) options.grace = std::chrono::seconds(20);
        if (chance(2)) options.refresh_ahead = 0.5;
        if (chance(4)) options.early_beta = 1;
        if (chance(3)) options.soft_timeout = 0ms;
        if (chance(4)) options.hard_timeout = 1h;
        if (chance(3)) options.retry_after = 5s;
        if (chance(3)) options.negative_ttl = 5s;
        if (chance(4)) options.jitter = 2s;
        if (chance(4)) options.idle = 10s;
        if (has_tags_ && chance(3)) options.tags = {"t"};
        if (chance(8)) options.read = sc::TierSet::memory;
        if (chance(8)) options.write = sc::TierSet::memory;
        return options;
    }

    /// A value made for a key now.
    int make(const sc::EntryOptions& options) {
        made_.push_back({now(), *options.ttl, options.grace});
        return static_cast<int>(made_.size()) - 1;
    }

    /// Nothing that was made until now may be served for the key any more.
    void end(std::string_view key) { floor_[std::string(key)] = static_cast<int>(made_.size()); }
    void end_all() {
        for (const std::string_view key : names) end(key);
    }

    void check(std::string_view key, const std::optional<int>& value, int floor, bool stale,
               const char* what) {
        if (!value) return;
        const Made& made = made_[static_cast<std::size_t>(*value)];
        const std::int64_t age = now() - made.at;
        if (*value < floor)
            fail(key, *value, std::string(what) + ": came back");
        else if (age >= (made.ttl + made.grace).count())
            fail(key, *value, std::string(what) + ": beyond its grace");
        else if (age >= made.ttl.count() && !stale)
            fail(key, *value, std::string(what) + ": expired, and not called stale");
    }
    void fail(std::string_view key, int value, const std::string& text) {
        wrong_ = text + ", key " + std::string(key) + ", value " + std::to_string(value);
    }

    /// What a loader does beside loading.
    void interfere(std::string_view key) {
        if (!chance(6)) return;
        switch (up_to(4)) {
            case 0:
                (void)cache_->erase(key);
                end(key);
                break;
            case 1: {
                end(key);
                const sc::EntryOptions options{.ttl = 10s};
                cache_->set(key, make(options), options);
                break;
            }
            case 2:
                cache_->clear();
                end_all();
                break;
            default:
                (void)cache_->run_maintenance();
        }
    }

    void load_one() {
        const std::string_view key = some_key();
        const sc::EntryOptions options = some_options();
        const int floor = floor_[std::string(key)];
        const auto load = [this, options, key](sc::LoadContext& context) -> std::optional<int> {
            const int value = make(options);
            interfere(key);
            if (chance(4)) throw std::runtime_error("origin");
            if (chance(8)) return std::nullopt;
            if (chance(6)) context.skip_store();
            return value;
        };
        try {
            const bool timed = options.soft_timeout || options.hard_timeout;
            const auto found = timed || chance(2) ? cache_->get_or_compute(key, sc::owned(load), options)
                                                  : cache_->get_or_compute(key, load, options);
            check(key, found ? std::optional(*found) : std::nullopt, floor, found.stale(), "get_or_compute");
        } catch (const std::runtime_error&) {
        }
    }

    void load_many() {
        sc::EntryOptions options = some_options();
        options.soft_timeout.reset();
        options.hard_timeout.reset();
        std::vector<std::string_view> keys;
        for (std::uint32_t n = up_to(5); n > 0; --n) keys.push_back(some_key());
        std::map<std::string, int> floors = floor_;
        try {
            const auto found = cache_->get_or_compute_many(
                keys,
                [&](std::span<const std::string_view> missing) {
                    std::vector<std::optional<int>> values;
                    for (std::size_t i = 0; i < missing.size(); ++i)
                        values.push_back(chance(5) ? std::nullopt : std::optional(make(options)));
                    if (!missing.empty()) interfere(missing.front());
                    if (chance(6)) throw std::runtime_error("origin");
                    return values;
                },
                options);
            for (std::size_t i = 0; i < keys.size(); ++i)
                check(keys[i], found[i] ? std::optional(*found[i]) : std::nullopt,
                      floors[std::string(keys[i])], found[i].stale(), "get_or_compute_many");
        } catch (const std::runtime_error&) {
        }
    }

    void step() {
        const std::string_view key = some_key();
        switch (up_to(12)) {
            case 0: {
                const sc::EntryOptions options = some_options();
                end(key);
                cache_->set(key, make(options), options);
                break;
            }
            case 1:
                (void)cache_->erase(key);
                end(key);
                break;
            case 2:
                if (chance(4)) {
                    cache_->clear();
                    end_all();
                }
                break;
            case 3:
                clock_.advance(std::chrono::seconds(up_to(15)));
                break;
            case 4:
                (void)cache_->run_maintenance();
                break;
            case 5: {
                const auto found = cache_->get<int>(key);
                check(key, found ? std::optional(*found) : std::nullopt, floor_[std::string(key)], false,
                      "get");
                break;
            }
            case 6:
                if (chance(3)) cache_->clear_memory();
                break;
            case 7: {
                const auto found = cache_->get<int>(key, {.allow_stale = true});
                check(key, found ? std::optional(*found) : std::nullopt, floor_[std::string(key)],
                      found.stale(), "get with stale values");
                break;
            }
            case 8:
                load_many();
                break;
            default:
                load_one();
        }
    }

    sc::FakeClock clock_;
    std::mt19937 dice_;
    bool has_tags_ = false;
    std::unique_ptr<sc::SmartCache<>> cache_;
    std::vector<Made> made_;
    std::map<std::string, int> floor_;
    std::string wrong_;
};

}  // namespace

TEST_CASE("whatever the options, nothing comes back, and nothing outlives its grace",
          "[facade][load][model]") {
    for (std::uint32_t seed = 1; seed <= 400; ++seed) {
        const std::string wrong = World(seed).run(300);
        INFO("seed " << seed);
        CHECK(wrong == "");
    }
}

}  // namespace loads_model_test
