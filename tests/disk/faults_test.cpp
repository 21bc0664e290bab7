// Every system call of the store fails, one after the other.

#include <smartcache/disk/io.hpp>

#include <cerrno>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <thread>

#include "disk/fixture.hpp"
#include "support/catch.hpp"

using namespace smartcache_test;
using sc::TierStatus;

namespace {

/// Lets the calls with numbers in [from, to) fail. A write that fails has written its first half.
class FaultyIo final : public sc::detail::Io {
  public:
    int calls = 0;
    int from = 0;
    int to = 0;
    int error = EIO;
    std::function<bool(const char*)> only = [](const char*) { return true; };

    void heal() { from = to = 0; }

    int make_directory(const char* path, mode_t mode) override {
        return strikes("mkdir") ? -1 : Io::make_directory(path, mode);
    }
    int open(const char* path, int flags) override { return strikes("open") ? -1 : Io::open(path, flags); }
    int open_at(int directory, const char* name, int flags, mode_t mode) override {
        return strikes("openat") ? -1 : Io::open_at(directory, name, flags, mode);
    }
    int status(int file, struct stat* result) override {
        return strikes("fstat") ? -1 : Io::status(file, result);
    }
    int change_mode(int file, mode_t mode) override {
        return strikes("fchmod") ? -1 : Io::change_mode(file, mode);
    }
    int lock(int file) override { return strikes("flock") ? -1 : Io::lock(file); }
    ssize_t pread(int file, void* to_, std::size_t size, std::uint64_t offset) override {
        return strikes("pread") ? -1 : Io::pread(file, to_, size, offset);
    }
    ssize_t pwrite(int file, const void* from_, std::size_t size, std::uint64_t offset) override {
        if (!strikes("pwrite")) return Io::pwrite(file, from_, size, offset);
        (void)Io::pwrite(file, from_, size / 2, offset);
        errno = error;
        return -1;
    }
    void* map(int file, std::size_t size, bool writable) override {
        return strikes("mmap") ? MAP_FAILED : Io::map(file, size, writable);
    }
    int truncate(int file, std::uint64_t size) override {
        return strikes("ftruncate") ? -1 : Io::truncate(file, size);
    }
    int duplicate(int file, int target) override { return strikes("dup") ? -1 : Io::duplicate(file, target); }
    int sync(int file) override { return strikes("fdatasync") ? -1 : Io::sync(file); }
    int allocate(int file, std::uint64_t size) override {
        return strikes("fallocate") ? -1 : Io::allocate(file, size);
    }
    int rename_at(int directory, const char* from_, const char* to_) override {
        return strikes("rename") ? -1 : Io::rename_at(directory, from_, to_);
    }
    int unlink_at(int directory, const char* name) override {
        return strikes("unlink") ? -1 : Io::unlink_at(directory, name);
    }
    int list(int directory, std::vector<std::string>& names) override {
        return strikes("readdir") ? -1 : Io::list(directory, names);
    }

  private:
    bool strikes(const char* call) {
        if (!only(call)) return false;
        const int number = calls++;
        if (number < from || number >= to) return false;
        errno = error;
        return true;
    }
};

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
    const auto error = GENERATE(EIO, ENOSPC, EROFS);
    const int length = GENERATE(1, 4, 1'000'000);
    const auto io = GENERATE(sc::DiskIo::mmap, sc::DiskIo::pread);
    const auto configure = [&](Script& script) {
        script.options.io = io;
        if (length == 4) script.options.durability = sc::Durability::power_loss;
    };
    Script healthy;
    configure(healthy);
    healthy.run();
    healthy.finish();
    REQUIRE(healthy.wrong.empty());
    REQUIRE(healthy.stored == 39);
    REQUIRE(healthy.io.calls > 150);
#if defined(__SANITIZE_THREAD__)
    const int step = 11;  // one thread only, and each opening is slow
#else
    const int step = 1;
#endif
    for (int number = 0; number < healthy.io.calls; number += step) {
        Script script;
        configure(script);
        script.io.error = error;
        script.io.from = number;
        script.io.to = number + length;
        script.run();
        script.finish();
        INFO("errno " << error << " from call " << number << " on, " << length << " times");
        REQUIRE(script.wrong == "");
    }
}

TEST_CASE("a full file system costs the oldest segment, not the write", "[disk][faults]") {
    FaultyIo io;
    DiskFixture disk;
    disk.options.write = sc::WriteMode::through;
    disk.tuning.io = &io;
    io.error = ENOSPC;
    io.only = [](const char* call) { return std::string_view(call) == "pwrite"; };
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
    io.only = [](const char* call) { return std::string_view(call) == "pwrite"; };
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
    io.only = [](const char* call) { return std::string_view(call) == "pwrite"; };
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
    REQUIRE(disk.tier->flush(10s));
    disk.close();
    io.only = [](const char* call) { return std::string_view(call) == "pwrite"; };
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
    REQUIRE(disk.tier->flush(10s));
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
    REQUIRE(disk.tier->flush(10s));
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
