#include <smartcache/disk/index.hpp>

#include <cstdint>
#include <map>
#include <random>

#include "support/catch.hpp"

namespace index_test {

using namespace smartcache::detail;
using namespace std::chrono_literals;

namespace {

Location at(std::uint32_t number) {
    return {static_cast<std::uint16_t>(number % 7), (number + 1) * 4, number};
}

bool equal(const std::optional<Location>& found, std::uint32_t number) {
    return found && found->same_place(at(number)) && found->dead_at == number;
}

}  // namespace

TEST_CASE("a shard behaves like a map under random puts, erases and purges", "[disk][index]") {
    std::mt19937_64 random(GENERATE(1U, 2U, 3U));
    IndexShard shard;
    std::map<std::uint64_t, std::uint32_t> model;
    std::vector<std::uint64_t> tags;
    for (int i = 0; i < 600; ++i) {
        std::uint64_t hash = random();
        if (i % 3 == 0)
            hash |= std::uint64_t{0xFFFFFFF} << 28U;  // many homes at the very end: probes wrap around
        const std::uint64_t tag = DiskIndex::tag(hash);
        tags.push_back(tag);
    }
    bool same = true;
    for (std::uint32_t step = 0; step < 60'000; ++step) {
        const std::uint64_t tag = tags[random() % tags.size()];
        const auto dice = random() % 1000;
        if (dice < 500) {
            shard.prepare();
            shard.put(tag, at(step));
            model[tag] = step;
        } else if (dice < 990) {
            same = same && shard.erase(tag) == (model.erase(tag) == 1);
        } else if (dice < 998) {
            const auto slot = static_cast<std::uint16_t>(random() % 7);
            const auto removed =
                shard.erase_if([slot](const Location& location) { return location.slot == slot; });
            same = same &&
                   removed == std::erase_if(model, [slot](const auto& e) { return e.second % 7 == slot; });
        } else {
            shard.shrink();
        }
        same = same && shard.size() == model.size();
        const auto expected = model.find(tag);
        same =
            same && (expected == model.end() ? !shard.find(tag) : equal(shard.find(tag), expected->second));
        if (step % 500 == 0)
            for (const auto& [key, number] : model) same = same && equal(shard.find(key), number);
        if (!same) FAIL("differs at step " << step);
    }
    std::size_t visited = 0;
    shard.for_each([&](std::uint64_t tag, const Location& location) {
        ++visited;
        same = same && model.contains(tag) && location.same_place(at(model[tag]));
    });
    CHECK(same);
    CHECK(visited == model.size());
}

TEST_CASE("a record costs at most 24 bytes of index at every size", "[disk][index]") {
    DiskIndex index;
    std::mt19937_64 random(4);
    for (std::size_t count = 1; count <= 200'000; ++count) {
        const std::uint64_t hash = random();
        IndexShard& shard = index.shard(hash);
        shard.prepare();
        shard.put(DiskIndex::tag(hash), at(1));
        if (count % 10'000 == 0)
            REQUIRE(static_cast<double>(index.bytes()) / static_cast<double>(count) <= 24.5);
    }
    CHECK(index.size() == 200'000);
}

TEST_CASE("memory comes back when most of the records are gone", "[disk][index]") {
    DiskIndex index;
    std::mt19937_64 random(4);
    for (std::size_t i = 0; i < 50'000; ++i) {
        const std::uint64_t hash = random();
        index.shard(hash).prepare();
        index.shard(hash).put(DiskIndex::tag(hash), at(static_cast<std::uint32_t>(i)));
    }
    const std::size_t full = index.bytes();
    CHECK(index.erase_if([](const Location& location) { return location.dead_at >= 100; }) > 49'000);
    CHECK(index.bytes() < full / 20);
}

TEST_CASE("coarse expiry never calls a living record dead and is right after a second", "[disk][index]") {
    const auto time = [](std::int64_t ms) { return smartcache::WallTime(smartcache::Duration(ms)); };
    Location location;
    location.dead_at = Location::coarse(time(1'500));
    CHECK_FALSE(location.surely_dead(time(1'499)));
    CHECK_FALSE(location.surely_dead(time(1'999)));
    CHECK(location.surely_dead(time(2'000)));
    location.dead_at = Location::coarse(time(2'000));
    CHECK_FALSE(location.surely_dead(time(1'999)));
    CHECK(location.surely_dead(time(2'000)));
    location.dead_at = Location::coarse(smartcache::WallTime::max());
    CHECK_FALSE(location.surely_dead(time(std::int64_t{1} << 50U)));
    location.dead_at = Location::coarse(time(std::int64_t{1} << 50U));  // beyond what a slot can say
    CHECK_FALSE(location.surely_dead(time(1'000'000'000'000)));
}

TEST_CASE("the largest offset and slot survive the packing", "[disk][index]") {
    IndexShard shard;
    const Location far{65535, (1U << 26U) - 4, 7};
    const std::uint64_t tag = DiskIndex::tag(~std::uint64_t{0});
    shard.prepare();
    shard.put(tag, far);
    REQUIRE(shard.find(tag));
    CHECK(shard.find(tag)->same_place(far));
    CHECK(shard.find(tag)->dead_at == 7);
    CHECK_FALSE(shard.find(tag - 2));
    CHECK_FALSE(shard.find(tag ^ (std::uint64_t{1} << 40U)));
}

TEST_CASE("the mark of a record that was read stays with it until it is put anew", "[disk][index]") {
    IndexShard shard;
    std::vector<std::uint64_t> tags;
    for (std::uint64_t i = 1; i <= 1000; ++i) tags.push_back(DiskIndex::tag(i * 0x9E3779B97F4A7C15U));
    for (std::uint32_t i = 0; i < 1000; ++i) {
        shard.prepare();  // the table grows several times
        shard.put(tags[i], at(i));
        if (i % 2 == 0) REQUIRE(shard.find_and_mark(tags[i]));
    }
    for (std::uint32_t i = 0; i < 1000; ++i) {
        REQUIRE(equal(shard.find(tags[i]), i));
        REQUIRE(shard.find(tags[i])->was_read == (i % 2 == 0));
    }
    shard.put(tags[0], at(5));
    CHECK_FALSE(shard.find(tags[0])->was_read);
    CHECK_FALSE(shard.find_and_mark(DiskIndex::tag(12345)));
}

TEST_CASE("what was reserved too much is given back by fit, and nothing is lost", "[disk][index]") {
    IndexShard shard;
    shard.reserve(10'000);
    const std::size_t reserved = shard.bytes();
    for (std::uint32_t i = 0; i < 1000; ++i) {
        shard.prepare();
        shard.put(DiskIndex::tag((i + 1) * 0x9E3779B97F4A7C15U), at(i));
    }
    CHECK(shard.bytes() == reserved);
    shard.fit();
    CHECK(shard.bytes() <= 1000 * 24);
    for (std::uint32_t i = 0; i < 1000; ++i)
        REQUIRE(equal(shard.find(DiskIndex::tag((i + 1) * 0x9E3779B97F4A7C15U)), i));
}

}  // namespace index_test
