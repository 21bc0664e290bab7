// What calls leave behind that end for want of memory: each allocation of each call fails once.
#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <smartcache/codec/json.hpp>
#include <smartcache/disk/disk_tier.hpp>
#include <smartcache/facade/smart_cache.hpp>
#include <smartcache/testing.hpp>

#include "support/catch.hpp"
#include "support/failing_new.hpp"
#include "support/map_tier.hpp"
#include "support/temp_dir.hpp"

namespace allocations_test {

using namespace smartcache;
using smartcache_test::allocations_until_failure;
using smartcache_test::MapTier;
using smartcache_test::TempDir;

namespace {

/// Nothing fails while it exists.
class Enough {
  public:
    Enough() : left_(std::exchange(allocations_until_failure, -1)) {}
    Enough(const Enough&) = delete;
    Enough& operator=(const Enough&) = delete;
    ~Enough() { allocations_until_failure = left_; }

  private:
    int left_;
};

/// A map that never lacks memory, as a tier must not throw; what the cache does with a record may fail.
class Patient final : public Tier {
  public:
    Patient(TierId id, const Clock* clock) : map_(id, clock) {}
    [[nodiscard]] TierId id() const noexcept override { return map_.id(); }
    TierStatus read(std::string_view key, Found found) override {
        std::vector<std::byte> bytes;
        TierStatus status = TierStatus::miss;
        {
            const Enough enough;
            status = map_.read(key, [&](const RecordView& record) {
                ByteSink out;
                encode_record(record, out);
                bytes = out.take();
            });
        }
        if (status == TierStatus::ok) found(parse_record(bytes).record);
        return status;
    }
    TierStatus write(const RecordView& record, WriteCondition condition) override {
        const Enough enough;
        return map_.write(record, condition);
    }
    std::vector<TierStatus> write_many(std::span<const RecordView> records) override {
        const Enough enough;
        return map_.write_many(records);
    }
    TierStatus remove(std::string_view key) override {
        const Enough enough;
        return map_.remove(key);
    }
    std::vector<TierStatus> remove_many(std::span<const std::string_view> keys) override {
        const Enough enough;
        return map_.remove_many(keys);
    }
    [[nodiscard]] TierStatus contains(std::string_view key) override {
        const Enough enough;
        return map_.contains(key);
    }
    TierStatus change_lifetime(std::string_view key, std::uint64_t stamp, WallTime expires,
                               WallTime stale_until) override {
        const Enough enough;
        return map_.change_lifetime(key, stamp, expires, stale_until);
    }
    TierStatus clear(std::string_view name_space) override {
        const Enough enough;
        return map_.clear(name_space);
    }
    [[nodiscard]] TierHealth probe() override { return map_.probe(); }
    [[nodiscard]] TierStats stats() const override { return map_.stats(); }
    void reset_stats() override { map_.reset_stats(); }

  private:
    MapTier map_;
};

/// What stands below: maps, or a map and a disk.
enum class Below { maps, map_and_disk };

/// A small cache over two tiers.
struct Tight {
    explicit Tight(Below what) : cache(config(), tiers(what)) {}

    FakeClock clock;
    TempDir directory{TempDir::On::memory};
    std::vector<Tier*> below;
    SmartCache<JsonCodec> cache;

    [[nodiscard]] Config config() const {
        return {.memory = {.capacity = 8, .jemalloc = false},
                .background_threads = 0,
                .clock = &clock,
                .listener = [](const Event&) {}};
    }
    [[nodiscard]] std::vector<std::unique_ptr<Tier>> tiers(Below what) {
        std::vector<std::unique_ptr<Tier>> all;
        all.push_back(std::make_unique<Patient>(TierId::redis, &clock));
        if (what == Below::maps)
            all.push_back(std::make_unique<Patient>(TierId::disk, &clock));
        else
            all.push_back(std::make_unique<DiskTier>(
                DiskOptions{.enabled = true, .path = directory.path(), .max_size = 4U << 20U},
                TierContext{.time = TimeSource(&clock), .background = false}));
        for (const auto& each : all) below.push_back(each.get());
        return all;
    }
    /// The text that each tier has, from the top down, where it has one.
    [[nodiscard]] std::vector<std::string> found(std::string_view key) {
        std::vector<std::string> all;
        if (const auto hit = cache.try_get<std::string>(key)) all.push_back(*hit);
        for (Tier* const tier : below)
            (void)tier->read(physical_key({}, key), [&](const RecordView& record) {
                if (!record.tombstone) all.emplace_back(as_text_view(record.payload));
            });
        return all;
    }
};

std::string text(std::string_view name) {
    return std::string(name) + " in a text that is too long to be kept within a string";
}

/// Runs `call(cache)` over a fresh cache until none of its allocations has failed; after each failure `judge(tight)`.
template <class Call, class Judge>
void starve(Call call, Judge judge) {
    const Below what = GENERATE(Below::maps, Below::map_and_disk);
    CAPTURE(static_cast<int>(what));
    for (int n = 0;; ++n) {
        CAPTURE(n);
        REQUIRE(n < 1000);
        Tight tight(what);
        for (const char* const key : {"a", "b", "c"}) REQUIRE(tight.cache.set(key, text("old")));
        bool failed = false;
        allocations_until_failure = n;
        try {
            call(tight.cache);
        } catch (const std::bad_alloc&) {
            failed = true;
        }
        const bool all_done = allocations_until_failure >= 0;
        allocations_until_failure = -1;
        if (all_done) {
            CHECK_FALSE(failed);
            CHECK(n > 1);
            return;
        }
        judge(tight);
    }
}

/// After a call that wrote `text("new")` or nothing under the keys: no tier has another value than those above it.
void check_one_truth(Tight& tight) {
    for (const char* const key : {"a", "b", "c"}) {
        const std::vector<std::string> all = tight.found(key);
        CAPTURE(key, all);
        CHECK(std::adjacent_find(all.begin(), all.end(), std::not_equal_to<>()) == all.end());
        for (const std::string& each : all) CHECK((each == text("old") || each == text("new")));
    }
}

}  // namespace

TEST_CASE("R3: a write that ends for want of memory leaves no older value in front of a newer one",
          "[allocations]") {
    SECTION("set") {
        starve([](auto& cache) { cache.set("a", text("new")); }, check_one_truth);
    }
    SECTION("set of a value for the codec") {
        starve([](auto& cache) { cache.set("a", nlohmann::json(text("new"))); },
               [](Tight& tight) {
                   const auto hit = tight.cache.peek<nlohmann::json>("a");
                   tight.cache.clear_memory();
                   const auto below = tight.cache.peek<nlohmann::json>("a");
                   if (hit && below) CHECK(*hit == *below);
               });
    }
    SECTION("set_many") {
        starve(
            [](auto& cache) {
                const std::vector<std::pair<std::string_view, std::string>> pairs{
                    {"a", text("new")}, {"b", text("new")}, {"c", text("new")}};
                cache.set_many(pairs);
            },
            check_one_truth);
    }
    SECTION("update") {
        starve(
            [](auto& cache) {
                cache.template update<std::string>(
                    "a", [](const std::optional<std::string>&) { return text("new"); });
            },
            check_one_truth);
    }
    SECTION("refresh") {
        starve([](auto& cache) { (void)cache.refresh("a", [] { return text("new"); }); }, check_one_truth);
    }
    SECTION("a fill") {
        starve(
            [](auto& cache) {
                Fill fill = cache.begin_fill("a");
                (void)cache.commit_fill(std::move(fill), text("new"));
            },
            check_one_truth);
    }
}

TEST_CASE("a lookup that ends for want of memory changes nothing", "[allocations]") {
    const auto check_old = [](Tight& tight) {
        for (const char* const key : {"a", "b", "c"})
            for (const std::string& each : tight.found(key)) CHECK(each == text("old"));
        CHECK(tight.cache.template get<std::string>("a").value_or("") == text("old"));
    };
    SECTION("get, from memory and from below") {
        starve(
            [](auto& cache) {
                (void)cache.template get<std::string>("a");
                cache.clear_memory();
                (void)cache.template get<std::string>("a");
            },
            check_old);
    }
    SECTION("get_many") {
        starve(
            [](auto& cache) {
                cache.clear_memory();
                (void)cache.template get_many<std::string>({"a", "b", "c"});
            },
            check_old);
    }
}

TEST_CASE("a key is free again after a load that ended for want of memory", "[allocations]") {
    starve(
        [](auto& cache) {
            (void)cache.get_or_compute("another", [] { return text("new"); });
            (void)cache.get_or_compute_many({"d", "e"}, [](std::span<const std::string_view> keys) {
                return std::vector<std::string>(keys.size(), text("new"));
            });
        },
        [](Tight& tight) {
            int loads = 0;
            for (const char* const key : {"another", "d", "e"})
                CHECK(*tight.cache.get_or_compute(key, [&] {
                    ++loads;
                    return text("new");
                }) == text("new"));
            CHECK(loads <= 3);
        });
}

TEST_CASE("an erase that ends for want of memory can be done again", "[allocations]") {
    starve(
        [](auto& cache) {
            cache.erase("a");
            cache.erase_many(std::vector<std::string_view>{"b", "c"});
        },
        [](Tight& tight) {
            check_one_truth(tight);
            tight.cache.erase_many(std::vector<std::string_view>{"a", "b", "c"});
            for (const char* const key : {"a", "b", "c"}) CHECK(tight.found(key).empty());
        });
}

TEST_CASE("a cache goes on after any call that ended for want of memory", "[allocations]") {
    const auto check_use = [](Tight& tight) {
        check_one_truth(tight);
        for (const char* const key : {"a", "b", "c", "n", "x"}) {
            REQUIRE(tight.cache.set(key, text("new")));
            REQUIRE(tight.cache.template get<std::string>(key).value_or("") == text("new"));
            REQUIRE(tight.cache.erase(key));
            CHECK(tight.found(key).empty());
        }
    };
    SECTION("changes that depend on what is there") {
        starve(
            [](auto& cache) {
                (void)cache.increment("n", 7);
                (void)cache.increment("n", 8);
                (void)cache.set_if_absent("x", text("new"));
                (void)cache.set_if_absent("a", text("new"));
                (void)cache.template take<std::string>("b");
            },
            check_use);
    }
    SECTION("lifetimes") {
        starve(
            [](auto& cache) {
                (void)cache.touch("a", std::chrono::minutes(1));
                (void)cache.expire("b");
                (void)cache.exists("c");
                (void)cache.template peek<std::string>("c");
                (void)cache.explain("a");
            },
            check_use);
    }
    SECTION("tags") {
        starve(
            [](auto& cache) {
                cache.set("x", text("new"), {.tags = {text("a tag"), "another"}});
                cache.erase_tag("another");
                cache.expire_tag(text("a tag"));
            },
            check_use);
    }
    SECTION("eviction and maintenance") {
        starve(
            [](auto& cache) {
                for (int i = 0; i < 20; ++i) cache.set("e" + std::to_string(i), text("new"));
                cache.resize(4);
                (void)cache.run_maintenance();
                (void)cache.flush();
                (void)cache.stats();
            },
            check_use);
    }
    SECTION("loads with everything") {
        starve(
            [](auto& cache) {
                const EntryOptions options{.ttl = std::chrono::minutes(1),
                                           .grace = std::chrono::minutes(1),
                                           .refresh_ahead = 0.5,
                                           .tags = {"tag"},
                                           .distributed_lock = true};
                (void)cache.get_or_compute("x", owned([] { return text("new"); }), options);
                (void)cache.get_or_compute("x", owned([] { return text("new"); }), options);
                (void)cache.get_or_compute("n", []() -> std::optional<std::string> { return std::nullopt; },
                                           {.negative_ttl = std::chrono::minutes(1)});
            },
            check_use);
    }
}

}  // namespace allocations_test
