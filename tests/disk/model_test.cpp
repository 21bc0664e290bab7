// Random operations on a tier and on a map beside it: whatever the tier gives, the map holds.
// SMARTCACHE_MODEL_SEEDS=100 in the environment makes a longer run of it.

#include <array>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <smartcache/disk/disk_tier.hpp>

#include "disk/fixture.hpp"
#include "support/catch.hpp"

namespace model_test {

using namespace smartcache_test;
using sc::TierStatus;
using sc::WriteCondition;

namespace {

enum class Way { through, behind, behind_without_thread };

struct Setup {
    bool roomy = false;    // nothing is evicted: a miss is allowed only after a rejected write
    bool collide = false;  // most keys share their hash with others, and push each other out
    Way way = Way::through;
    sc::DiskIo io = sc::DiskIo::mmap;
    std::uint64_t seed = 0;
};

class Model : DiskFixture {
  public:
    explicit Model(const Setup& setup)
        : DiskFixture(TempDir::On::memory),
          setup_(setup),
          dice_(setup.seed),
          lossy_(!setup.roomy || setup.collide) {
        options.write = setup.way == Way::through ? sc::WriteMode::through : sc::WriteMode::behind;
        options.io = setup.io;
        options.max_size = some_size();
        context.background = setup.way != Way::behind_without_thread;
        // Small, so that queues fill, chunks end and the writer is at work in the middle of everything.
        tuning.queue_bytes = 128U << 10U;
        tuning.chunk_bytes = 8U << 10U;
        tuning.window = sc::Duration(setup.seed % 2);
        if (setup.collide) tuning.hash_mask = 31;
    }

    void run(int operations) {
        open();
        for (int i = 0; i < operations && wrong.empty(); ++i) {
            doing_ = "operation " + std::to_string(i);
            step();
        }
        doing_ = "at the end";
        leave(true);
        for (const std::string& space : name_spaces)
            for (std::size_t i = 0; i < keys_each; ++i) look(sc::physical_key(space, key_name(i)), true);
        leave(true);
    }

    std::string wrong;
    std::uint64_t hits = 0;
    std::uint64_t evictions = 0;
    std::uint64_t rejected = 0;
    std::uint64_t conditions_held = 0;

  private:
    struct Entry {
        std::string value;
        std::uint64_t stamp = 0;
        sc::WallTime created{};
        sc::WallTime expires{};
        sc::WallTime stale_until{};

        [[nodiscard]] sc::WallTime end() const { return std::max(expires, stale_until); }
    };
    static constexpr std::size_t keys_each = 90;
    inline static const std::array<std::string, 3> name_spaces{"", "a", "another"};

    void step() {
        const std::size_t kind = dice_.below(100);
        const std::string key = some_key();
        if (kind < 32)
            write(key, WriteCondition::always());
        else if (kind < 36)
            write_some();
        else if (kind < 42)
            write(key, WriteCondition::if_absent());
        else if (kind < 48)
            write(key, WriteCondition::if_stamp(some_stamp(key)));
        else if (kind < 56)
            remove(key);
        else if (kind < 72)
            look(key, true);
        else if (kind < 78)
            look(key, false);
        else if (kind < 83)
            contains(key);
        else if (kind < 88)
            change_lifetime(key);
        else if (kind < 91)
            clock.advance(sc::Duration(dice_.below(dice_.one_in(25) ? 900'000 : 4'000)));
        else if (kind < 95)
            (void)tier->run_maintenance();
        else if (kind < 97)
            flush();
        else if (dice_.one_in(8))
            clear();
        else if (dice_.one_in(4))
            leave(setup_.way == Way::behind || dice_.one_in(2));
    }

    static std::string key_name(std::size_t i) { return "k" + std::to_string(i); }
    std::string some_key() {
        const std::string& space =
            name_spaces[dice_.below(name_spaces.size())];  // in this order with any compiler
        return sc::physical_key(space, key_name(dice_.below(keys_each)));
    }
    std::uint64_t some_size() {
        constexpr std::array<std::uint64_t, 3> tiny{1U << 20U, (3U << 19U) + 4321U, 5U << 19U};
        return tiny[dice_.below(tiny.size())] * (setup_.roomy ? 40 : 1);
    }
    std::string some_value(const std::string& key) {
        std::size_t size = dice_.below(6000);
        if (dice_.one_in(60)) size = 50'000 + dice_.below(100'000);
        if (!setup_.roomy && dice_.one_in(400)) size = 1'400'000;  // more than any bound here allows
        return value_of(key, stamp + 1, size);
    }
    std::uint64_t some_stamp(const std::string& key) {
        const Entry* const held = live(key);
        return held != nullptr && !dice_.one_in(4) ? held->stamp : dice_.next();
    }
    Entry some_entry(const std::string& key) {
        Entry entry;
        entry.value = some_value(key);
        entry.stamp = ++stamp;
        entry.created = clock.wall();
        entry.expires = entry.created + sc::Duration(dice_.one_in(3) ? dice_.below(30'000) : 3'600'000);
        entry.stale_until = entry.expires + sc::Duration(dice_.one_in(4) ? dice_.below(60'000) : 0);
        return entry;
    }
    sc::RecordView view(const std::string& key, const Entry& entry) const {
        sc::RecordView record;
        record.key = key;
        record.payload = sc::as_byte_view(entry.value);
        record.raw_size = entry.value.size();
        record.kind = sc::ValueKind::text;
        record.stamp = entry.stamp;
        record.created = entry.created;
        record.expires = entry.expires;
        record.stale_until = entry.stale_until;
        return record;
    }

    /// What a read must give, unless it was lost; nullptr: nothing.
    const Entry* live(const std::string& key) const {
        const auto found = held_.find(key);
        return found != held_.end() && clock.wall() < found->second.end() ? &found->second : nullptr;
    }
    void blame(const std::string& key, std::string_view what) {
        if (wrong.empty()) wrong = doing_ + ", " + key + ": " + std::string(what);
    }
    void must(bool holds, const std::string& key, std::string_view otherwise) {
        if (!holds) blame(key, otherwise);
    }

    /// The outcome of an unconditional write.
    void note(const std::string& key, Entry&& entry, TierStatus result) {
        rejected += result == TierStatus::rejected;
        if (result == TierStatus::ok)
            held_.insert_or_assign(key, std::move(entry));
        else
            held_.erase(key);
        must(result == TierStatus::ok || result == TierStatus::rejected, key, "a write failed");
    }
    void write(const std::string& key, WriteCondition condition) {
        const Entry* const before = live(key);
        const bool by_stamp = condition.kind == WriteCondition::Kind::if_stamp;
        Entry entry = some_entry(key);
        const TierStatus result = tier->write(view(key, entry), condition);
        if (result == TierStatus::refused) {
            must(condition.kind != WriteCondition::Kind::always, key, "refused without a condition");
            if (condition.kind == WriteCondition::Kind::if_absent)
                must(before != nullptr, key, "if_absent met something that nobody wrote");
            if (by_stamp)
                must(lossy_ || before == nullptr || before->stamp != condition.stamp, key,
                     "if_stamp met nothing");
            return;
        }
        if (condition.kind == WriteCondition::Kind::if_absent)
            must(lossy_ || before == nullptr, key, "if_absent met nothing");
        if (by_stamp)
            must(before != nullptr && before->stamp == condition.stamp, key, "if_stamp met another version");
        conditions_held += condition.kind != WriteCondition::Kind::always;
        note(key, std::move(entry), result);
    }
    void write_some() {
        std::map<std::string, Entry> entries;  // each key once
        for (std::size_t i = 1 + dice_.below(5); i > 0; --i) {
            const std::string key = some_key();
            entries.insert_or_assign(key, some_entry(key));
        }
        std::vector<sc::RecordView> records;
        for (const auto& [key, entry] : entries) records.push_back(view(key, entry));
        const std::vector<TierStatus> results = tier->write_many(records);
        std::size_t i = 0;
        for (auto& [key, entry] : entries) note(key, std::move(entry), results.at(i++));
    }
    void remove(const std::string& key) {
        const Entry* const before = live(key);
        const TierStatus result = tier->remove(key);
        must(result != TierStatus::ok || before != nullptr, key, "something was removed that nobody wrote");
        must(result == TierStatus::ok || lossy_ || before == nullptr, key, "was lost before it was removed");
        must(result == TierStatus::ok || result == TierStatus::miss, key, "remove failed");
        held_.erase(key);
    }
    void look(const std::string& key, bool read) {
        const Entry* const expected = live(key);
        const auto compare = [&](const sc::RecordView& found) {
            ++hits;
            if (expected == nullptr) return blame(key, "came back or outlived its end");
            must(found.key == key, key, "the record is of another key");
            must(sc::as_text_view(found.payload) == expected->value, key, "another value");
            must(found.stamp == expected->stamp, key, "another stamp");
            must(found.created == expected->created, key, "created at another time");
            must(found.expires == expected->expires && found.stale_until == expected->stale_until, key,
                 "another lifetime");
        };
        const TierStatus result = read ? tier->read(key, compare) : tier->peek(key, compare);
        must(result == TierStatus::ok || lossy_ || expected == nullptr, key, "was lost");
        must(result == TierStatus::ok || result == TierStatus::miss, key, "a read failed");
    }
    void contains(const std::string& key) {
        const Entry* const held = live(key);
        const bool fresh = held != nullptr && clock.wall() < held->expires;
        const bool there = tier->contains(key) == TierStatus::ok;
        must(there ? fresh : lossy_ || !fresh, key, "contains is wrong");
    }
    void change_lifetime(const std::string& key) {
        const std::uint64_t wanted = some_stamp(key);
        const Entry* const before = live(key);
        const bool matches = before != nullptr && before->stamp == wanted;
        const sc::WallTime expires =
            clock.wall() + sc::Duration(dice_.one_in(4) ? 0 : dice_.below(3'600'000));
        const sc::WallTime stale = dice_.one_in(2) ? expires : expires + sc::Duration(dice_.below(60'000));
        const TierStatus result = tier->change_lifetime(key, wanted, expires, stale);
        if (result == TierStatus::refused)
            return must(lossy_ || !matches, key, "its lifetime could not be changed");
        must(matches, key, "the lifetime of another version was changed");
        must(result != TierStatus::unavailable, key, "change_lifetime failed");
        if (result == TierStatus::ok && matches) {
            held_.at(key).expires = expires;
            held_.at(key).stale_until = stale;
        } else if (before == nullptr || expires < before->expires || stale < before->stale_until) {
            held_.erase(key);  // else it stays as it was
        }
    }
    void clear() {
        const std::string& space = name_spaces[dice_.below(name_spaces.size())];
        must(tier->clear(space) == TierStatus::ok, space, "clear failed");
        std::erase_if(held_, [&](const auto& item) {
            const auto parts = sc::split_physical_key(item.first);
            return parts && parts->name_space == space;
        });
    }
    void flush() { must(tier->flush(60s), "", "flush did not end"); }

    /// Another process takes over.
    /// @param properly  this one ends as it should; else it is as if killed, so that all it leaves is in the files
    void leave(bool properly) {
        check_bound();
        evictions += tier->stats().evictions;
        must(tier->stats().corrupt == 0, "", "damage");
        must(tier->stats().errors == 0, "", "errors");
        if (properly) {
            close();
        } else {
            const Snapshot files(options.path);
            close();
            files.restore();
        }
        options.max_size = some_size();
        open();
        check_bound();
    }
    void check_bound() {
        const auto used = steady_disk_usage(options.path);
        must(!used || *used <= options.max_size, "", "more than max_size on disk");
        must(tier->stats().bytes <= options.max_size, "", "more than max_size in use");
    }

    const Setup setup_;
    Dice dice_;
    const bool lossy_;
    std::map<std::string, Entry> held_;
    std::string doing_;
};

}  // namespace

TEST_CASE("whatever is done in whatever order, a hit is the current record and a miss has a reason",
          "[disk][model]") {
    Setup setup;
    setup.roomy = GENERATE(false, true);
    setup.way = GENERATE(Way::through, Way::behind, Way::behind_without_thread);
    setup.io = GENERATE(sc::DiskIo::mmap, sc::DiskIo::pread);
    std::uint64_t hits = 0;
    std::uint64_t evictions = 0;
    std::uint64_t conditions_held = 0;
    const std::uint64_t seeds = from_environment("SMARTCACHE_MODEL_SEEDS", 3);
    for (setup.seed = 1; setup.seed <= seeds; ++setup.seed) {
        INFO("seed " << setup.seed << (setup.roomy ? ", roomy" : ", tiny") << ", way "
                     << static_cast<int>(setup.way) << ", io " << static_cast<int>(setup.io));
        Model model(setup);
        model.run(2500);
        REQUIRE(model.wrong == "");
        hits += model.hits;
        evictions += model.evictions;
        conditions_held += model.conditions_held;
    }
    // The comparison did compare something, and the tiny store did turn over.
    CAPTURE(hits, evictions, conditions_held);
    CHECK(hits > 100 * seeds);
    CHECK(conditions_held > 50 * seeds);
    CHECK((evictions > 10 * seeds) == !setup.roomy);
    if (setup.roomy) CHECK(evictions == 0);
}

TEST_CASE(
    "keys with the same hash push each other out, whatever is done, and never give a foreign or old value",
    "[disk][model][R25]") {
    Setup setup;
    setup.collide = true;
    setup.roomy = GENERATE(false, true);
    setup.way = GENERATE(Way::through, Way::behind);
    const std::uint64_t seeds = from_environment("SMARTCACHE_MODEL_SEEDS", 2);
    for (setup.seed = 1; setup.seed <= seeds; ++setup.seed) {
        INFO("seed " << setup.seed);
        Model model(setup);
        model.run(2500);
        REQUIRE(model.wrong == "");
        CHECK(model.hits > 30);
    }
}

}  // namespace model_test
