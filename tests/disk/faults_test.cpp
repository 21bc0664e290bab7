// Every system call of the store fails, one after the other.

#include <smartcache/disk/io.hpp>

#include <cerrno>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "disk/faulty_io.hpp"
#include "disk/fixture.hpp"
#include "support/catch.hpp"
#include "support/sanitizers.hpp"

namespace faults_test {

using namespace smartcache_test;
using sc::TierStatus;

namespace {

/// A run of writes, overwrites, erases, clears, restarts and evictions, with what each key may be afterwards.
struct Script : DiskFixture {
    Script() : DiskFixture(TempDir::On::memory) {
        options.write = sc::WriteMode::through;
        context.background = false;
        tuning.io = &io;
        tuning.retry = sc::Duration(0);
        name_space = "ns";
    }
    ~Script() { close(); }  // the tier uses io, which goes before the fixture does

    void run() {
        if (!try_open()) return;
        for (std::uint64_t round = 1; round <= 3; ++round) {
            for (int i = 0; i < 9; ++i) write("k" + std::to_string(i), round, 30'000);
            for (int i = 0; i < 3; ++i) write("small" + std::to_string(i), round, 50);
            remove("k1");
            remove("small1");
            check("running");
            if (round == 1) {
                write("k1", 7, 200'000);
                touch("small2");
            }
            if (round == 2) {
                clear();
                check("cleared");
                write("k2", 8, 50);
                if (!restart()) return;
            }
            (void)tier->run_maintenance();
            (void)tier->probe();
        }
    }

    /// With the fault gone: works at once in this process, and gives nothing wrong in the next one.
    void finish() {
        io.heal();
        if (tier) {
            write("healed", 1, 50);
            if (get("healed") != value_of("healed", 1, 50)) wrong = "did not recover";
            check("healed");
        }
        if (!restart()) wrong = "cannot be opened";
        check("reopened");
        if (disk_usage(options.path) > options.max_size) wrong = "bound";
    }

    bool try_open() {
        try {
            open();
            return true;
        } catch (const sc::ConfigError&) {
            return false;
        }
    }
    bool restart() {
        close();
        // Whoever was told that an erase had failed must expect the old value after a restart.
        for (const auto& [key, versions] : not_erased) allowed[key].insert(versions.begin(), versions.end());
        return try_open();
    }
    void write(const std::string& key, std::uint64_t version, std::size_t size) {
        const TierStatus result = set(key, value_of(key, version, size));
        forget_if(key, result == TierStatus::unavailable);
        allowed[key] = {version};
        stored += result == TierStatus::ok;
    }
    void remove(const std::string& key) {
        forget_if(key, erase(key) == TierStatus::unavailable);
        allowed[key].clear();
    }
    void clear() {
        const bool failed = tier->clear("ns") != TierStatus::ok;
        for (auto& [key, versions] : allowed) {
            forget_if(key, failed);
            versions.clear();
        }
    }
    void touch(const std::string& key) {
        if (!get(key)) return;
        (void)tier->change_lifetime(sc::physical_key("ns", key), found_stamp, clock.wall() + 24h,
                                    clock.wall() + 24h);
    }
    void forget_if(const std::string& key, bool failed) {
        if (failed) not_erased[key].insert(allowed[key].begin(), allowed[key].end());
    }
    void check(const char* when) {
        for (const auto& [key, versions] : allowed) {
            const auto value = get(key);
            if (!value) continue;
            const auto version = version_in(key, *value);
            if (!version || !versions.contains(*version))
                wrong = key + " " + when + ": " + value->substr(0, 20);
        }
    }

    FaultyIo io;
    std::map<std::string, std::set<std::uint64_t>> allowed;
    std::map<std::string, std::set<std::uint64_t>> not_erased;
    std::string wrong;
    int stored = 0;
};

}  // namespace

TEST_CASE("whichever call fails: nothing wrong is served, nothing crashes, and the store recovers",
          "[disk][faults]") {
    const auto error = GENERATE(EIO, ENOSPC, EROFS, EMFILE, EINTR, FaultyIo::halves);
    // A call that is interrupted for ever is repeated for ever; no system does that.
    const int length = GENERATE(1, 4, FaultyIo::for_ever);
    if (error == EINTR && length == FaultyIo::for_ever) return;
    const auto io = GENERATE(sc::DiskIo::mmap, sc::DiskIo::pread);
    // The tier looks at few errors: the others take each way once.
    const bool looked_at = error == EIO || error == ENOSPC || error == EINTR;
    if (!looked_at && (length == 1) != (io == sc::DiskIo::pread)) return;
    const auto configure = [&](Script& script) {
        script.options.io = io;
        if (length == 4) script.options.durability = sc::Durability::power_loss;
        // So that the tier has a reason to call fchmod.
        std::filesystem::create_directory(script.options.path);
        std::filesystem::permissions(script.options.path, std::filesystem::perms::all);
    };
    Script healthy;
    configure(healthy);
    healthy.run();
    healthy.finish();
    REQUIRE(healthy.wrong.empty());
    REQUIRE(healthy.stored == 39);
    REQUIRE(healthy.io.calls > 150);
    std::set<std::string> struck;
    const int step = under_thread_sanitizer ? 11 : 1;  // one thread only, and each opening is slow
    for (int number = 0; number < healthy.io.calls; number += step) {
        Script script;
        configure(script);
        script.io.error = error;
        script.io.from = number;
        script.io.to = length == FaultyIo::for_ever ? length : number + length;
        script.run();
        script.finish();
        INFO("errno " << error << " from call " << number << " on, " << length << " times");
        REQUIRE(script.wrong == "");
        struck.merge(script.io.struck);
        // Transfers in two halves are as good as those in one.
        if (error == FaultyIo::halves) REQUIRE(script.stored == healthy.stored);
    }
    if (step != 1) return;
    std::set<std::string> all{"mkdir",  "open",      "openat",    "fstat",     "fchmod", "flock",  "pread",
                              "pwrite", "ftruncate", "fdatasync", "fallocate", "rename", "unlink", "readdir"};
    if (io == sc::DiskIo::mmap) all.insert("mmap");
    CHECK(struck == all);
}

namespace {

/// A store in which almost every key has older versions, in older segments. Nothing may be served but what `expected`
/// holds.
struct OldVersions : DiskFixture {
    explicit OldVersions(sc::DiskIo io_kind) : DiskFixture(TempDir::On::memory) {
        options.write = sc::WriteMode::through;
        options.io = io_kind;
        context.background = false;
        tuning.io = &io;
        tuning.retry = sc::Duration(0);
        name_space = "ns";
        open();
        for (std::uint64_t version = 1; version <= 3; ++version) {
            for (std::size_t i = 0; i < keys; ++i) {
                const std::string key = "k" + std::to_string(i);
                set(key, value_of(key, version, 9000));
                expected[key] = version;
            }
        }
        for (const char* key : {"k1", "k4", "k6"}) {
            erase(key);
            expected.erase(key);
        }
        name_space = "cleared";
        set("gone", value_of("gone", 1, 9000));
        (void)tier->clear("cleared");
        name_space = "ns";
    }
    ~OldVersions() { close(); }  // the tier uses io, which goes before the fixture does

    void look() {
        for (std::size_t i = 0; i < keys; ++i) {
            const std::string key = "k" + std::to_string(i);
            const auto value = get(key);
            if (!value) continue;
            ++hits;
            if (!expected.contains(key) || version_in(key, *value) != expected[key])
                wrong = key + " came back: " + value->substr(0, 20);
        }
        name_space = "cleared";
        if (get("gone")) wrong = "what was cleared came back";
        name_space = "ns";
    }
    bool try_open() {
        try {
            open();
            return true;
        } catch (const sc::ConfigError&) {
            return false;
        }
    }
    /// Fails while opening, is used, heals, is used, is opened once more.
    void suffer(int error, int from, int count) {
        wrong.clear();
        io.calls = 0;
        io.error = error;
        io.from = from;
        io.to = count == FaultyIo::for_ever ? count : from + count;
        if (try_open()) look();
        io.heal();
        if (!tier && !try_open()) wrong = "cannot be opened";
        if (!tier) return;
        look();
        (void)set("healed", "v");
        if (set("healed", "v") != TierStatus::ok || get("healed") != "v") wrong = "unusable";
        close();
        if (!try_open()) wrong = "cannot be opened again";
        if (!tier) return;
        look();
        if (get("healed") != "v") wrong = "lost what was stored after the error";
        close();
    }

    static constexpr std::size_t keys = 8;
    FaultyIo io;
    std::map<std::string, std::uint64_t> expected;
    std::uint64_t hits = 0;
    std::string wrong;
};

void let_each_call_of_opening_fail(OldVersions& store) {
    store.close();
    const Snapshot snapshot(store.options.path);
    store.io.calls = 0;
    store.open();
    const int calls = store.io.calls;
    store.look();
    REQUIRE(store.hits == store.expected.size());
    store.close();
    for (const int error : {EIO, ENOSPC, EROFS, EMFILE, EINTR, FaultyIo::halves}) {
        for (const int count : {1, 3, FaultyIo::for_ever}) {
            if (error == EINTR && count == FaultyIo::for_ever) continue;
            for (int number = 0; number < calls; ++number) {
                snapshot.restore();
                store.suffer(error, number, count);
                INFO("errno " << error << " from call " << number << " on, " << count << " times");
                REQUIRE(store.wrong == "");
            }
        }
    }
}

}  // namespace

TEST_CASE("an error while opening never brings an old value back, and passes with its cause",
          "[disk][faults][R20]") {
    OldVersions store(GENERATE(sc::DiskIo::mmap, sc::DiskIo::pread));
    let_each_call_of_opening_fail(store);
}

TEST_CASE(
    "an error while opening never brings an old value back, also when the journal knows nothing of it any "
    "more",
    "[disk][faults][R20]") {
    OldVersions store(GENERATE(sc::DiskIo::mmap, sc::DiskIo::pread));
    store.close();
    std::filesystem::remove(store.options.path / "KILLS");  // as after some thousands of other kills
    store.open();
    let_each_call_of_opening_fail(store);
}

TEST_CASE("flush does not call written what could not be written", "[disk][faults]") {
    FaultyIo io;
    DiskFixture disk;
    disk.tuning.io = &io;
    disk.tuning.retry = 1h;
    disk.context.background = GENERATE(true, false);
    io.fail_only("pwrite");
    disk.open();
    REQUIRE(disk.tier->flush(60s));
    io.fail_next(FaultyIo::for_ever);
    (void)disk.set("k", "v");
    CHECK_FALSE(disk.tier->flush(50ms));
    io.heal();
    disk.close();
}

TEST_CASE("with Durability::power_loss a write or erase that could not be synced is not reported as done",
          "[disk][faults]") {
    FaultyIo io;
    DiskFixture disk;
    disk.options.write = sc::WriteMode::through;
    disk.options.durability = sc::Durability::power_loss;
    disk.tuning.io = &io;
    disk.tuning.retry = 1h;
    disk.open();
    REQUIRE(disk.set("k", "old") == TierStatus::ok);
    REQUIRE(disk.set("erased", "old") == TierStatus::ok);
    io.fail_only("fdatasync");
    io.fail_next(FaultyIo::for_ever);
    if (GENERATE(true, false)) {
        CHECK(disk.set("k", "new") == TierStatus::unavailable);
        CHECK(disk.get("k").value_or("nothing") != "old");
    } else {
        CHECK(disk.erase("erased") == TierStatus::unavailable);
        CHECK_FALSE(disk.get("erased"));
    }
    io.heal();
    disk.close();
}

TEST_CASE(
    "with Durability::power_loss a clear or the end of a tag that could not be synced is not reported as "
    "done",
    "[disk][faults]") {
    FaultyIo io;
    DiskFixture disk;
    disk.options.write = GENERATE(sc::WriteMode::through, sc::WriteMode::behind);
    disk.options.durability = sc::Durability::power_loss;
    disk.tuning.io = &io;
    disk.tuning.retry = 1h;
    disk.open();
    for (const char* const name_space : {"ns", "other"}) {  // so that "ns" alone cannot go with all files
        disk.name_space = name_space;
        REQUIRE(disk.set("k", "old") == TierStatus::ok);
    }
    REQUIRE(disk.tier->flush(60s));
    io.fail_only("fdatasync");
    io.fail_next(FaultyIo::for_ever);
    const bool clears = GENERATE(true, false);
    CHECK((clears ? disk.tier->clear("ns") : disk.tier->erase_tag("ns", "t")) == TierStatus::unavailable);
    io.heal();
    disk.close();
}

TEST_CASE("with Durability::power_loss what a failed write has left is cut off for good", "[disk][faults]") {
    class Calls final : public sc::detail::Io {
      public:
        bool fails = false;
        std::vector<std::string> made;
        int truncate(int file, std::uint64_t size) override {
            made.push_back("ftruncate");
            return Io::truncate(file, size);
        }
        int sync(int file) override {
            made.push_back("fdatasync");
            if (!std::exchange(fails, false)) return Io::sync(file);
            errno = EIO;
            return -1;
        }
    } io;
    DiskFixture disk;
    disk.options.write = sc::WriteMode::through;
    disk.options.durability = sc::Durability::power_loss;
    disk.tuning.io = &io;
    disk.tuning.retry = 1h;
    disk.open();
    disk.set("k", "v");
    io.made.clear();
    io.fails = true;
    CHECK(disk.set("other", "v") == TierStatus::unavailable);
    CHECK(io.made == std::vector<std::string>{"fdatasync", "ftruncate", "fdatasync"});
    disk.close();
}

TEST_CASE("on a file system that copies on write no kill is stored through a mapping, which may be a signal",
          "[disk][faults][R21]") {
    class Copying final : public sc::detail::Io {
      public:
        bool copies = true;
        int stored_through = 0;
        bool copies_on_write(int file) override { return copies || Io::copies_on_write(file); }
        void* map(int file, std::size_t size, bool writable) override {
            stored_through += writable ? 1 : 0;
            return Io::map(file, size, writable);
        }
    } io;
    io.copies = GENERATE(true, false);
    DiskFixture disk(TempDir::On::memory);  // which does not, whatever the disk's does
    disk.tuning.io = &io;
    disk.open();
    disk.set("k", "v");
    REQUIRE(disk.tier->flush(60s));
    disk.close();
    disk.tuning.window = 24h;  // from now on the queue is not written
    disk.open();
    CHECK(disk.erase("k") == TierStatus::ok);
    const Snapshot left_by_kill(disk.options.path);
    disk.close();
    left_by_kill.restore();
    CHECK((io.stored_through == 0) == io.copies);
    disk.open();
    CHECK_FALSE(disk.get("k"));
}

TEST_CASE("a full file system, or a quota used up, costs the oldest segment, not the write",
          "[disk][faults]") {
    const int full = GENERATE(ENOSPC, EDQUOT);
    FaultyIo io;
    DiskFixture disk;
    disk.options.write = sc::WriteMode::through;
    disk.tuning.io = &io;
    io.error = full;
    io.fail_only("pwrite");
    disk.open();
    for (int i = 0; i < 5; ++i) disk.set("k" + std::to_string(i), value_of("k", 1, 50'000));
    const auto before = disk.segments();
    io.from = io.calls;
    io.to = io.calls + 1;
    CHECK(disk.set("new", value_of("new", 1, 10'000)) == TierStatus::ok);
    CHECK(disk.get("new"));
    CHECK_FALSE(disk.get("k0"));
    CHECK(disk.get("k1"));
    CHECK(disk.segments().size() == before.size() - 1);
    CHECK(disk.tier->stats().evictions == 1);
    CHECK(disk.tier->stats().errors == 1);
}

TEST_CASE("while nothing can be written, writes are unavailable, old values stay away, and reads go on",
          "[disk][faults][R3]") {
    FaultyIo io;
    DiskFixture disk;
    std::string said;
    disk.context.logger = [&](sc::LogLevel, std::string_view text) { said += std::string(text) + "\n"; };
    disk.options.write = sc::WriteMode::through;
    disk.tuning.io = &io;
    disk.tuning.retry = 1h;
    io.fail_only("pwrite");
    disk.open();
    disk.set("kept", "value");
    disk.set("k", "old");
    io.from = io.calls;
    io.to = io.calls + 1;
    CHECK(disk.set("k", "new") == TierStatus::unavailable);
    CHECK_FALSE(disk.get("k"));
    CHECK(disk.get("kept") == "value");
    CHECK(disk.set("more", "v") == TierStatus::unavailable);  // the next attempt is an hour away
    CHECK(disk.erase("kept") == TierStatus::ok);              // the journal takes it
    CHECK_FALSE(disk.tier->probe().ok);
    CHECK(disk.tier->stats().errors > 0);
    CHECK(said.find("Input/output error") != std::string::npos);
    disk.reopen();
    CHECK_FALSE(disk.get("k"));
    CHECK_FALSE(disk.get("kept"));
    CHECK(disk.set("k", "newer") == TierStatus::ok);
}

TEST_CASE("more kills than the journal can hold while nothing can be written drop the store",
          "[disk][faults][R21]") {
    FaultyIo io;
    DiskFixture disk(TempDir::On::memory);
    disk.options.write = sc::WriteMode::through;
    disk.options.max_size = 4U << 20U;
    disk.tuning.io = &io;
    disk.tuning.retry = 1h;
    io.fail_only("pwrite");
    disk.open();
    for (int i = 0; i < 4000; ++i) REQUIRE(disk.set("k" + std::to_string(i), "v") == TierStatus::ok);
    io.from = io.calls;
    io.to = 1'000'000'000;
    int refused = 0;
    for (int i = 0; i < 3000; ++i) refused += disk.erase("k" + std::to_string(i)) == TierStatus::unavailable;
    CHECK(refused == 0);
    CHECK_FALSE(disk.get("k3999"));  // gone with all the others, so that the erased ones cannot come back
    CHECK(disk.segments().empty());
    io.heal();
    disk.reopen();
    CHECK(disk.tier->stats().entries == 0);
    CHECK(disk.set("k", "v") == TierStatus::ok);
}

TEST_CASE("with a writer thread the tier recovers by itself", "[disk][faults]") {
    FaultyIo io;
    DiskFixture disk;
    disk.tuning.io = &io;
    disk.tuning.retry = sc::Duration(1);
    disk.tuning.window = sc::Duration(0);
    disk.open();
    disk.set("k", "old");
    REQUIRE(disk.tier->flush(60s));
    disk.close();
    io.fail_only("pwrite");
    disk.open();
    io.from = io.calls;
    io.to = io.calls + 3;  // only the writer thread writes from here on
    disk.set("k", "new");
    // "new" is lost, and flush says so. Then it waits for the kill of "old", which must get into the log; two attempts at
    // that fail.
    REQUIRE_FALSE(disk.tier->flush(30s));
    for (int attempt = 0; attempt < 3 && !disk.tier->flush(30s); ++attempt) REQUIRE(attempt < 2);
    while (disk.set("k", "newer") != TierStatus::ok) std::this_thread::yield();
    CHECK(disk.get("k") == "newer");
    disk.reopen();
    CHECK(disk.get("k") == "newer");
}

TEST_CASE("a directory that is removed under a running tier is made again, empty", "[disk][faults]") {
    DiskFixture disk;
    disk.options.write = GENERATE(sc::WriteMode::through, sc::WriteMode::behind);
    disk.tuning.retry = sc::Duration(1);
    disk.open();
    disk.set("k", "old");
    REQUIRE(disk.tier->flush(60s));
    std::filesystem::remove_all(disk.options.path);
    (void)disk.get("k");  // the page cache may still have it
    if (disk.options.write == sc::WriteMode::through) {
        CHECK(disk.set("k", "lost") != TierStatus::ok);  // the open segment would take it
    }
    for (int i = 0; !std::filesystem::exists(disk.options.path / "MANIFEST"); ++i) {
        (void)disk.set("f" + std::to_string(i % 10), value_of("f", 1, 30'000));
        (void)disk.tier->flush(sc::Duration(1));
    }
    while (disk.set("k", "new") != TierStatus::ok) std::this_thread::yield();
    CHECK(disk.get("k") == "new");
    REQUIRE(disk.tier->flush(60s));
    CHECK(disk.tier->probe().ok);
    disk.reopen();
    CHECK(disk.get("k") == "new");
}

TEST_CASE("segments that somebody removes are no error until they are needed", "[disk][faults]") {
    DiskFixture disk;
    disk.options.write = sc::WriteMode::through;
    disk.open();
    for (int i = 0; i < 10; ++i) disk.set("k" + std::to_string(i), value_of("k", 1, 50'000));
    for (const auto& path : disk.segments()) std::filesystem::remove(path);
    for (int i = 0; i < 40; ++i)
        REQUIRE(disk.set("n" + std::to_string(i), value_of("n", 1, 50'000)) == TierStatus::ok);
    CHECK(disk.get("n39"));
    CHECK(disk_usage(disk.options.path) <= disk.options.max_size);
}

TEST_CASE("a segment that the device cannot read is not asked again for a while", "[disk][faults]") {
    FaultyIo io;
    DiskFixture disk;
    disk.options.write = sc::WriteMode::through;
    disk.options.io = sc::DiskIo::pread;
    disk.tuning.io = &io;
    disk.tuning.retry = 1h;
    disk.open();
    REQUIRE(disk.set("a", "value") == TierStatus::ok);
    REQUIRE(disk.set("b", "value") == TierStatus::ok);
    io.fail_only("pread");
    io.fail_next(FaultyIo::for_ever);
    CHECK_FALSE(disk.get("a"));
    CHECK(disk.status == TierStatus::unavailable);
    const int calls = io.calls;
    for (const char* key : {"a", "b"}) {
        CHECK_FALSE(disk.get(key));
        CHECK(disk.status == TierStatus::unavailable);
    }
    CHECK(disk.set("b", "another", 1h, sc::WriteCondition::if_absent()) == TierStatus::unavailable);
    CHECK(io.calls == calls);
    CHECK(disk.tier->stats().errors == 3);
    io.heal();
    CHECK(disk.erase("a") != TierStatus::unavailable);
    disk.reopen();  // or after a while: the device may have been replaced
    CHECK_FALSE(disk.get("a"));
    CHECK(disk.get("b") == "value");
    disk.close();
}

}  // namespace faults_test
