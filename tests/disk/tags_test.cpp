#include <smartcache/disk/disk_tier.hpp>

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "disk/fixture.hpp"
#include "support/catch.hpp"

namespace disk_tags_test {

using namespace smartcache_test;
using sc::TierStatus;

namespace {

struct TaggedDisk : DiskFixture {
    TaggedDisk() {
        options.on_full = sc::DiskOverflow::block;
        options.block_timeout = 60s;
        open();
    }
    TierStatus set(std::string_view key, std::string_view value, const std::vector<std::string>& tags,
                   std::uint64_t tag_seq = 0, sc::Duration grace = 0ms) {
        const std::string physical = sc::physical_key(name_space, key);
        sc::RecordView view = record(physical, value);
        view.stale_until = view.expires + grace;
        sc::ByteSink names;
        sc::encode_tags(tags, names);
        view.tags = sc::TagList(tags.size(), names.view());
        view.tag_seq = tag_seq == 0 ? tier->tag_seq(name_space) : tag_seq;
        return tier->write(view);
    }
    /// A set that must succeed. @return the record's stamp
    std::uint64_t store(std::string_view key, std::string_view value, const std::vector<std::string>& tags,
                        sc::Duration grace = 0ms) {
        CAPTURE(std::string(key));
        REQUIRE(set(key, value, tags, 0, grace) == TierStatus::ok);
        return stamp;
    }
    /// Turnover: `count` records under keys of their own.
    void fill(int count, std::size_t size, const std::vector<std::string>& tags = {}) {
        const std::string value(size, 'x');
        for (int i = 0; i < count; ++i) store("filler" + std::to_string(fillers++), value, tags);
    }
    void erase_tag(std::string_view tag) { REQUIRE(tier->erase_tag(name_space, tag) == TierStatus::ok); }
    void expire_tag(std::string_view tag) { REQUIRE(tier->expire_tag(name_space, tag) == TierStatus::ok); }
    /// @param left  from now, without grace
    TierStatus change_lifetime(std::string_view key, std::uint64_t of, sc::Duration left) {
        const sc::WallTime end = clock.wall() + left;
        return tier->change_lifetime(sc::physical_key(name_space, key), of, end, end);
    }

    int fillers = 0;
};

}  // namespace

TEST_CASE("the hashes under which tags end are pinned", "[disk][tags][golden]") {
    const sc::detail::TagHashes ends = sc::detail::tag_hashes("app", "users", 99);
    CHECK(ends.erased == 0x803e8744b8e5d5af);
    CHECK(ends.expired == 0x7fc178bb471a2a50);
    CHECK(sc::detail::tagged_hash("app", 99) == 0x9ad2b9a664821e0f);
}

TEST_CASE("an erased tag survives a crash before anything was written", "[disk][tags][R21]") {
    TaggedDisk disk;
    disk.store("a", "1", {"t"});
    disk.store("b", "2", {"u"});
    REQUIRE(disk.tier->flush(60s));
    disk.close();
    disk.tuning.window = 24h;  // from now on the queue is not written
    disk.open();
    disk.erase_tag("t");
    // The state of the files now is what a killed process leaves.
    const auto crashed = disk.options.path.parent_path() / "crashed";
    std::filesystem::copy(disk.options.path, crashed);
    disk.close();
    disk.options.path = crashed;
    for (int i = 0; i < 3; ++i) {
        disk.open();
        CHECK_FALSE(disk.get("a"));
        CHECK(disk.get("b") == "2");
        disk.close();
    }
}

TEST_CASE("what began to be made before its tag was erased is refused, and ends what was there",
          "[disk][tags][R18]") {
    TaggedDisk disk;
    disk.store("k", "old", {"u"});
    const std::uint64_t before = disk.tier->tag_seq("");
    disk.erase_tag("t");
    CHECK(disk.set("k", "new", {"t"}, before) == TierStatus::refused);
    CHECK_FALSE(disk.get("k"));
    CHECK(disk.set("k", "new", {"v"}, before) == TierStatus::ok);
    CHECK(disk.get("k") == "new");
    CHECK(disk.set("k", "newer", {"t"}) == TierStatus::ok);
    CHECK(disk.get("k") == "newer");
}

TEST_CASE("the end of a tag is forgotten only when nothing older is left, and still refuses who is late",
          "[disk][tags][R20]") {
    TaggedDisk disk;
    disk.store("a", "1", {"t"});
    const std::uint64_t before = disk.tier->tag_seq("");
    disk.erase_tag("t");
    for (int round = 0; round < 4; ++round) {
        disk.fill(300, 8000, {"f"});
        REQUIRE(disk.tier->flush(60s));
        CHECK_FALSE(disk.get("a"));
    }
    CHECK(disk.set("late", "x", {"t"}, before) == TierStatus::refused);
    CHECK_FALSE(disk.get("late"));
    disk.reopen();
    CHECK_FALSE(disk.get("a"));
}

TEST_CASE("a record that is worth keeping is not moved past the end of its tag", "[disk][tags][R20]") {
    TaggedDisk disk;
    const bool expires = GENERATE(false, true);
    disk.context.background = false;  // so that what is reclaimed when is the same in each run
    disk.reopen();
    disk.store("k", "old", {"t"});
    CHECK(disk.get("k") == "old");  // it will get a second chance
    expires ? disk.expire_tag("t") : disk.erase_tag("t");
    // So many kills that the journal remembers none from before.
    for (int i = 0; i < 2800; ++i) disk.store("x", "0123456789", {});
    disk.fill(1200, 900);
    REQUIRE(disk.tier->flush(60s));
    disk.reopen();
    CHECK_FALSE(disk.get("k"));
}

TEST_CASE("a lifetime may be changed however long ago other tags have ended", "[disk][tags][R4]") {
    TaggedDisk disk;
    const std::uint64_t stamp = disk.store("k", "v", {"t"});
    disk.erase_tag("u");
    for (int round = 0; round < 60; ++round) {
        disk.fill(50, 900);
        REQUIRE(disk.change_lifetime("k", stamp, 2h) == TierStatus::ok);
    }
    CHECK(disk.get("k") == "v");
    disk.erase_tag("t");
    CHECK_FALSE(disk.get("k"));
}

TEST_CASE("an expired tag leaves the grace, and a change of lifetime does not undo it", "[disk][tags][R4]") {
    TaggedDisk disk;
    const std::uint64_t stamp = disk.store("k", "v", {"t"}, 1h);
    disk.store("n", "v", {"t"});
    disk.expire_tag("t");
    CHECK(disk.get("k") == "v");
    CHECK_FALSE(disk.contains("k"));
    CHECK_FALSE(disk.get("n"));
    CHECK(disk.change_lifetime("k", stamp, 5h) == TierStatus::refused);
    CHECK_FALSE(disk.contains("k"));
    disk.reopen();
    CHECK(disk.get("k") == "v");
    CHECK_FALSE(disk.contains("k"));
    disk.clock.advance(2h + 1ms);
    CHECK_FALSE(disk.get("k"));
}

TEST_CASE("of too many tags all records with tags end, in their namespace", "[disk][tags]") {
    TaggedDisk disk;
    disk.store("a", "1", {"kept"});
    REQUIRE(disk.DiskFixture::set("plain", "2") == TierStatus::ok);
    disk.name_space = "other";
    disk.store("a", "3", {"kept"});
    disk.name_space = "";
    disk.options.max_size = 16U << 20U;
    disk.reopen();
    for (int i = 0; i < (1 << 16) + 1; ++i) disk.erase_tag(std::to_string(i));
    CHECK_FALSE(disk.get("a"));
    CHECK(disk.get("plain") == "2");
    disk.name_space = "other";
    CHECK(disk.get("a") == "3");
}

TEST_CASE("random changes of tags, with turnover and reopening, serve nothing that has ended",
          "[disk][tags]") {
    const std::uint64_t seed = GENERATE(1U, 2U, 3U, 4U);
    CAPTURE(seed);
    Dice dice(seed);
    TaggedDisk disk;
    struct Stored {
        std::string value;
        std::set<std::string> tags;
    };
    std::map<std::string, Stored> model;  // what may be served
    const auto tag = [&] { return "t" + std::to_string(dice.below(6)); };
    for (int step = 0; step < 4000; ++step) {
        const std::string key = "k" + std::to_string(dice.below(40));
        switch (dice.below(10)) {
            case 0:
            case 1:
            case 2:
            case 3: {
                const std::string value = value_of(key, dice.below(6000), static_cast<std::uint64_t>(step));
                std::vector<std::string> tags(dice.below(3));
                for (std::string& each : tags) each = tag();
                disk.store(key, value, tags);
                model[key] = {value, {tags.begin(), tags.end()}};
                break;
            }
            case 4: {
                const std::string name = tag();
                disk.erase_tag(name);
                std::erase_if(model, [&](const auto& each) { return each.second.tags.contains(name); });
                break;
            }
            case 5:
                (void)disk.erase(key);
                model.erase(key);
                break;
            case 6:
                if (dice.one_in(40)) disk.reopen();
                if (dice.one_in(20)) (void)disk.tier->run_maintenance();
                break;
            default: {
                const auto value = disk.get(key);
                const auto known = model.find(key);
                if (!value) break;  // evicted
                REQUIRE(known != model.end());
                REQUIRE(*value == known->second.value);
            }
        }
    }
    std::size_t found = 0;
    for (const auto& [key, stored] : model) found += disk.get(key) == stored.value ? 1 : 0;
    CHECK(found * 2 > model.size());
}

}  // namespace disk_tags_test
