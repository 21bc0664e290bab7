// Opening stores that were cut short, damaged or left behind by a crash.

#include <smartcache/disk/recovery.hpp>

#include <algorithm>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "disk/fixture.hpp"
#include "support/catch.hpp"
#include "support/sanitizers.hpp"

namespace recovery_test {

using namespace smartcache_test;
using sc::TierStatus;

namespace {

Bytes from_hex(std::string_view text) {
    Bytes bytes;
    for (std::size_t i = 0; i + 1 < text.size(); i += 2)
        bytes.push_back(static_cast<std::byte>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16)));
    return bytes;
}

const std::vector<std::string> keys{"a", "b", "c", "d", "e", "f"};

/// Two small segments. Each key that has an older version has it in the first one, except "e", so that any
/// tombstone or record that is lost from the second would let it come back.
struct SmallStore : DiskFixture {
    SmallStore() : DiskFixture(TempDir::On::memory) {
        options.write = sc::WriteMode::through;
        name_space = "ns";
        open();
        set("a", value_of("a", 1));
        set("b", value_of("b", 1));
        set("c", value_of("c", 1));
        set("filler", value_of("filler", 1, 40'000));  // over half: the next run begins a segment of its own
        reopen();
        set("a", value_of("a", 2));
        erase("b");
        set("d", value_of("d", 1));
        set("e", value_of("e", 1));
        set("e", value_of("e", 2));
        set("f", value_of("f", 1));
        close();
        expected = {{"a", 2}, {"c", 1}, {"d", 1}, {"e", 2}, {"f", 1}};
    }

    /// Opens the store and counts the keys that are missing. A value of another version or another key is
    /// fatal.
    std::size_t lost() {
        open();
        std::size_t missing = 0;
        for (const std::string& key : keys) {
            const auto value = get(key);
            if (!value) {
                missing += expected.contains(key);
                continue;
            }
            if (!expected.contains(key) || version_in(key, *value) != expected[key])
                wrong = key + " = " + *value;
        }
        const auto filler = get("filler");
        if (filler && version_in("filler", *filler) != 1) wrong = "filler";
        corrupt = tier->stats().corrupt;
        // The store must be usable, whatever it has met.
        if (set("new", "value") != TierStatus::ok || get("new") != "value") wrong = "unusable";
        close();
        return missing;
    }

    std::map<std::string, std::uint64_t> expected;
    std::string wrong;
    std::uint64_t corrupt = 0;
};

// There is one thread only, and under the thread sanitizer each opening is slow.
constexpr std::size_t stride = smartcache_test::under_thread_sanitizer ? 13 : 1;

}  // namespace

TEST_CASE("a store cut at any byte gives what lies before the cut, and nothing that was replaced or erased",
          "[disk][recovery]") {
    SmallStore store;
    store.options.io = GENERATE(sc::DiskIo::mmap, sc::DiskIo::pread);
    const auto second = store.segments().at(1);
    const Snapshot snapshot(store.options.path);
    const Bytes whole = read_bytes(second);
    REQUIRE(store.lost() == 0);

    std::size_t lost_before = keys.size();
    for (std::size_t size = 0; size <= whole.size();
         size += size == whole.size() ? 1 : std::min(stride, whole.size() - size)) {
        snapshot.restore();
        write_bytes(second, sc::ByteView(whole).first(size));
        const std::size_t lost = store.lost();
        INFO("cut at " << size);
        REQUIRE(store.wrong.empty());
        REQUIRE(lost <= lost_before);  // what was there with less of the file is there with more of it
        REQUIRE(store.corrupt == 0);   // a torn tail is no damage
        lost_before = lost;
        if (size == 0) REQUIRE(lost == 4);  // a, d, e, f: "a" is not its first version, thanks to the journal
    }
    CHECK(lost_before == 0);
}

TEST_CASE("with any one bit flipped at most the record it is in is lost, and nothing old comes back",
          "[disk][recovery]") {
    SmallStore store;
    store.options.io = GENERATE(sc::DiskIo::mmap, sc::DiskIo::pread);
    const Snapshot snapshot(store.options.path);
    const auto first = store.segments().at(0).filename().string();
    const auto second = store.segments().at(1).filename().string();
    std::size_t damaged = 0;
    // The tombstones must do without the journal here, so that the segments' own are what is tested.
    for (const std::string& name : {first, second, std::string("MANIFEST")}) {
        const Bytes whole = snapshot.files().at(name);
        const std::size_t size = name == first ? 500 : whole.size();  // not the filler's 40 000 bytes
        for (std::size_t bit = 0; bit < size * 8; bit += stride) {
            snapshot.restore();
            std::filesystem::remove(store.options.path / "KILLS");
            Bytes bytes = whole;
            bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
            write_bytes(store.options.path / name, bytes);
            const std::size_t lost = store.lost();
            INFO(name << ", bit " << bit);
            REQUIRE(store.wrong.empty());
            REQUIRE(lost <= 1);
            if (lost == 1) REQUIRE(store.corrupt == 1);
            damaged += lost;
        }
    }
    CHECK(damaged > 1000 / stride);  // flips were really made where they matter
}

TEST_CASE("flipped bits in the journal lose nothing", "[disk][recovery]") {
    SmallStore store;
    const Snapshot snapshot(store.options.path);
    for (std::size_t bit = 0; bit < 8 * 24 * 5; bit += stride) {
        snapshot.restore();
        Bytes bytes = snapshot.files().at("KILLS");
        bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
        write_bytes(store.options.path / "KILLS", bytes);
        INFO("bit " << bit);
        REQUIRE(store.lost() == 0);
        REQUIRE(store.wrong.empty());
    }
}

TEST_CASE("a torn tail is ignored, a damaged middle is counted and what lies behind it is found",
          "[disk][recovery]") {
    SmallStore store;
    const auto second = store.segments().at(1);
    Bytes bytes = read_bytes(second);
    for (std::size_t i = 64; i < 80; ++i) bytes[i] = std::byte{0x5A};  // most of the first frame's header
    write_bytes(second, bytes);
    SECTION("with its footer the store knows what was there, and everything else is intact") {
        store.expected.erase("a");
        CHECK(store.lost() == 0);
        CHECK(store.wrong.empty());
        CHECK(store.corrupt == 1);
    }
    SECTION("without, a kill may be lost: what is older goes, what is behind the damage is found") {
        write_bytes(second, sc::ByteView(bytes).first(bytes.size() - 1));
        store.open();
        CHECK(store.tier->stats().corrupt == 1);
        CHECK(store.segments().at(0) == second);
        CHECK_FALSE(store.get("a"));
        for (const char* key : {"d", "e", "f"}) CHECK(store.get(key));
        SECTION("also at the next opening, although it ended well") {
            store.reopen();
            CHECK_FALSE(store.get("a"));
            for (const char* key : {"d", "e", "f"}) CHECK(store.get(key));
        }
    }
}

TEST_CASE("frames of another generation behind the tail are not taken for records", "[disk][recovery][R20]") {
    DiskFixture disk;
    disk.options.write = sc::WriteMode::through;
    disk.open();
    disk.set("k", "old");
    disk.close();
    const Bytes recycled = read_bytes(disk.segments().at(0));
    disk.open();
    CHECK(disk.tier->clear());
    disk.set("other", "x");
    disk.close();
    const auto path = disk.segments().at(0);
    Bytes bytes = read_bytes(path);
    REQUIRE(bytes.size() % 4 == 0);
    bytes.insert(bytes.end(), recycled.begin() + 64, recycled.end());  // intact old frames
    write_bytes(path, bytes);
    disk.open();
    CHECK(disk.get("other") == "x");
    CHECK_FALSE(disk.get("k"));
    CHECK(disk.tier->stats().corrupt == 0);
}

TEST_CASE("a segment of another store is discarded", "[disk][recovery]") {
    DiskFixture one;
    one.open();
    one.set("k", "of one");
    one.close();
    DiskFixture two;
    two.open();
    two.close();
    std::filesystem::copy_file(one.segments().at(0), two.options.path / "00000001.seg");
    two.open();
    CHECK_FALSE(two.get("k"));
    CHECK(two.tier->stats().corrupt == 1);
    CHECK(two.set("k", "of two") == TierStatus::ok);
    two.reopen();
    CHECK(two.get("k") == "of two");
}

TEST_CASE(
    "a record that is damaged while the store is open is a miss, counted, and its predecessor stays dead",
    "[disk][recovery]") {
    DiskFixture disk;
    disk.options.write = sc::WriteMode::through;
    disk.options.io = GENERATE(sc::DiskIo::mmap, sc::DiskIo::pread);
    disk.open();
    disk.set("k", value_of("k", 1));
    disk.set("filler", value_of("f", 1, 40'000));
    disk.set("k", value_of("k", 2));
    const auto path = disk.segments().at(0);
    const Bytes whole = read_bytes(path);
    {
        std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(
            static_cast<std::streamoff>(whole.size() - 90));  // the header and the front of the last record
        file.write("damage damage damage damage damage ", 35);
    }
    CHECK_FALSE(disk.get("k"));
    CHECK(disk.status == TierStatus::miss);
    CHECK(disk.tier->stats().corrupt == 1);
    CHECK_FALSE(disk.get("k"));
    CHECK(disk.tier->stats().corrupt == 1);  // dropped, not met again
    disk.reopen();
    CHECK_FALSE(disk.get("k"));
    CHECK(disk.get("filler"));
}

TEST_CASE("with pread a file cut short by somebody else is a miss, not a signal", "[disk][recovery]") {
    DiskFixture disk;
    disk.options.io = sc::DiskIo::pread;
    disk.open();
    disk.set("k", value_of("k", 1, 20'000));
    REQUIRE(disk.tier->flush(60s));
    std::filesystem::resize_file(disk.segments().at(0), 5000);
    CHECK_FALSE(disk.get("k"));
    CHECK(disk.tier->stats().corrupt == 1);
    CHECK(disk.tier->set("other", "v"));
}

TEST_CASE("expired records are skipped at opening, but go on to hide what they replaced",
          "[disk][recovery][R20]") {
    DiskFixture disk;
    disk.open();
    disk.set("k", "long", 24h);
    REQUIRE(disk.tier->flush(60s));
    disk.set("k", "short", 1min);
    disk.close();
    disk.clock.advance(2min);
    disk.open();
    CHECK(disk.tier->stats().entries == 0);
    CHECK_FALSE(disk.get("k"));
}

TEST_CASE("a kill that only the journal knows outlives a clock that was ahead when the store was opened",
          "[disk][recovery][crash][R21][R26]") {
    const bool clears = GENERATE(false, true);
    DiskFixture disk;
    disk.name_space = "ns";
    disk.open();
    disk.set("k", "old");
    disk.name_space = "other";
    disk.set("alive", "v", 1000h);
    REQUIRE(disk.tier->flush(60s));
    disk.close();
    disk.tuning.window = 24h;  // from now on the queue is not written
    disk.open();
    disk.name_space = "ns";
    REQUIRE((clears ? disk.tier->clear("ns") : disk.erase("k")) == TierStatus::ok);
    const Snapshot left_by_kill(disk.options.path);
    disk.close();
    left_by_kill.restore();

    const sc::WallTime right = disk.clock.wall();
    disk.clock.set_wall(right + 2h);  // by which "k" has expired
    disk.tuning.window = sc::Duration(0);
    disk.open();
    CHECK(disk.tier->stats().entries == 1);
    for (int i = 0; i < 3000; ++i) {  // until the journal has forgotten
        disk.set("x", "v", 1000h);
        if (i % 100 == 0) REQUIRE(disk.tier->flush(60s));
    }
    disk.close();
    disk.clock.set_wall(right + 1min);
    disk.open();
    CHECK_FALSE(disk.get("k"));
    disk.name_space = "other";
    CHECK(disk.get("alive") == "v");
}

TEST_CASE("what is too large for the limits of one run and was erased in it is not there in the next",
          "[disk][recovery][R3]") {
    DiskFixture disk;
    disk.open();
    disk.set("k", value_of("k", 1, 20'000));
    disk.close();
    disk.context.limits.max_value_size = 10'000;
    disk.open();
    CHECK_FALSE(disk.get("k"));
    CHECK(disk.tier->stats().corrupt == 0);
    CHECK(disk.erase("k") == TierStatus::miss);
    disk.close();
    disk.context.limits.max_value_size = 100'000;
    disk.open();
    CHECK_FALSE(disk.get("k"));
}

TEST_CASE("a store that is found with more segments than can be named takes writes and erases",
          "[disk][recovery]") {
    DiskFixture disk;
    disk.options.write = sc::WriteMode::through;
    disk.open();
    disk.close();
    const auto manifest = sc::detail::parse_manifest(read_bytes(disk.options.path / "MANIFEST"));
    REQUIRE(manifest);
    for (std::uint64_t id = 1; id <= 200; ++id) {  // as of as many writes that failed
        const sc::detail::SegmentHeader header{id, 2 * id + 1, id};
        Bytes bytes(sc::detail::segment_header_size + sc::detail::kill_frame_size);
        sc::detail::put_segment_header(bytes.data(), header, manifest->token);
        sc::detail::put_frame_header(bytes.data() + sc::detail::segment_header_size,
                                     {sc::detail::FrameKind::tombstone, 0, id, id}, header);
        write_bytes(disk.options.path / sc::detail::segment_name(id), bytes);
    }
    disk.open();
    for (int i = 0; i < 200; ++i)
        REQUIRE(disk.set("k" + std::to_string(i), value_of("k", 1, 1000)) == TierStatus::ok);
    CHECK(disk.erase("k199") == TierStatus::ok);
}

TEST_CASE("random bytes as segments are opened without harm", "[disk][recovery]") {
    DiskFixture disk(TempDir::On::memory);
    disk.options.write = sc::WriteMode::through;
    disk.open();
    for (int i = 0; i < 30; ++i) disk.set("k" + std::to_string(i), value_of("k", 1, 50));
    disk.close();
    const Snapshot snapshot(disk.options.path);
    const Bytes whole = snapshot.files().at("00000001.seg");
    std::uint64_t random = 7;
    const auto next = [&random] {
        return (random = random * 6364136223846793005U + 1442695040888963407U) >> 33U;
    };
    for (int round = 0; round < 400; ++round) {
        snapshot.restore();
        Bytes bytes = whole;
        for (std::uint64_t i = next() % 30; i > 0; --i) {  // ranges overwritten, moved, repeated
            const std::size_t from = next() % bytes.size();
            const std::size_t to = next() % bytes.size();
            const std::size_t size = std::min<std::size_t>(next() % 64, bytes.size() - std::max(from, to));
            for (std::size_t j = 0; j < size; ++j)
                bytes[to + j] = next() % 2 ? bytes[from + j] : static_cast<std::byte>(next());
        }
        for (std::uint64_t cut = next() % 100; cut > 0; --cut) bytes.pop_back();
        write_bytes(disk.options.path / "00000001.seg", bytes);
        disk.open();
        bool fine = true;
        for (int i = 0; i < 30; ++i) {
            const auto value = disk.get("k" + std::to_string(i));
            fine = fine && (!value || value == value_of("k", 1, 50));
        }
        fine = fine && disk.set("new", "v") == TierStatus::ok && disk.get("new") == "v";
        disk.close();
        INFO("round " << round);
        REQUIRE(fine);
    }
}

// A store as version 2 writes it: "a" = "first" and then "second" for ever, "b" = "value" and "gone" for an hour, "gone"
// erased, all in the namespace "ns", and "a" in the namespace "other", which was cleared.
TEST_CASE("a store of this format that was written long ago is read", "[disk][recovery][golden]") {
    const std::string manifest = "534d434449534b0a02000000200000009166b209870a9a5d0792d6fb63f995ee";
    const std::string kills =
        "05000000000000008eddd5cc421b0f9f02000000df742b670600000000000000ec7c7c6b0a1baf0702000000bce1f829"
        "0700000000000000fad6b0635402399f03000000c67aeb41000000000000000000000000000000000000000000000000";
    const std::string segment =
        "534d435302000000010000000000000037e8ab2d36a28763010000000000000000000000000000000000000000000000"
        "0000000000000000631eb4ed13e1f48b2d00004000000000663743ce534301480000010000000000000080a094a58d1d"
        "80dddb0106323a6e733a61056669727374764a726f1a3c1cbd0000002d000040010000002b9f61f05343014800000200"
        "00000000000080a094a58d1d80dddb0106323a6e733a620576616c7565b333df01c20ec2fa0000002c00004002000000"
        "da2dfc26534301480000030000000000000080a094a58d1d80dddb0109323a6e733a676f6e650178f659fa7f7308a7c1"
        "3200004003000000b3595d30534301480000040000000000000080a094a58d1d80dddb0109353a6f746865723a610763"
        "6c65617265646526a240d41a7b6800002a000040040000001d45a378534301080000050000000000000080a094a58d1d"
        "06323a6e733a61067365636f6e64ae24b998a3cab0de00000000008005000000ec7c7c6b0a1baf0724672349000000c0"
        "06000000fad6b0635402399f8440ef83358eddd5cc421b0f9f0f40996f993186d91356a0e0d6b90701b8fe46f3b93a3c"
        "ab05ec7c7c6b0a1baf070e151680cbbd52e762541040fad6b0635402399f358eddd5cc421b0f9f0e00de9fa9c61802ec"
        "7c7c6b0a1baf0703fad6b0635402399f534d4346600000000500000001000000add4123b8cf7b817";
    DiskFixture disk;
    disk.name_space = "ns";
    std::filesystem::create_directory(disk.options.path);
    write_bytes(disk.options.path / "MANIFEST", from_hex(manifest));
    SECTION("from its footer") {
        write_bytes(disk.options.path / "00000001.seg", from_hex(segment));
    }
    SECTION("frame by frame") {
        const Bytes whole = from_hex(segment);
        write_bytes(disk.options.path / "00000001.seg", sc::ByteView(whole).first(whole.size() - 1));
    }
    SECTION("with the journal") {
        write_bytes(disk.options.path / "00000001.seg", from_hex(segment));
        write_bytes(disk.options.path / "KILLS", from_hex(kills));
    }
    disk.open();
    CHECK(disk.get("a") == "second");
    CHECK(disk.found_stamp == 5);
    CHECK(disk.get("b") == "value");
    CHECK_FALSE(disk.get("gone"));
    disk.clock.advance(1h);
    CHECK_FALSE(disk.get("b"));
    CHECK(disk.get("a") == "second");
    disk.name_space = "other";
    CHECK_FALSE(disk.get("a"));
    CHECK(disk.tier->stats().corrupt == 0);
}

TEST_CASE("a kill is not dropped for a newer value that a crash can still lose",
          "[disk][recovery][crash][R20]") {
    DiskFixture disk(TempDir::On::memory);
    disk.options.max_size = 4U << 20U;
    disk.tuning.window = 1h;  // what is queued stays queued
    disk.open();
    const auto fill = [&disk] {  // more than a segment
        for (int i = 0; i < 40; ++i) disk.set("dead" + std::to_string(i), value_of("dead", 1, 2000));
        REQUIRE(disk.tier->flush(60s));
    };
    disk.set("k", value_of("k", 1));
    disk.set("alive", "v");  // keeps the first segment
    fill();
    disk.erase("k");
    fill();                           // in one segment with the tombstone of "k"
    fill();                           // in which nothing is alive now
    for (int i = 0; i < 3000; ++i) {  // until the journal has long forgotten "k"
        disk.set("x", "v");
        if (i % 100 == 0) REQUIRE(disk.tier->flush(60s));
    }
    REQUIRE(disk.tier->flush(60s));
    disk.set("k", value_of("k", 2));  // queued
    (void)disk.tier->run_maintenance();
    const Snapshot left_by_kill(disk.options.path);
    disk.close();
    left_by_kill.restore();
    disk.open();
    const auto value = disk.get("k");
    CHECK((!value || version_in("k", *value) == 2));
    CHECK(disk.get("alive") == "v");
}

TEST_CASE("an empty file among the segments is no damage", "[disk][recovery]") {
    SmallStore store;
    write_bytes(store.options.path / "00000003.seg", {});
    std::filesystem::rename(store.options.path / "00000002.seg", store.options.path / "00000002.bak");
    write_bytes(store.options.path / "00000002.seg", {});
    store.open();
    CHECK(store.get("c"));
    CHECK(store.tier->stats().corrupt == 0);
}

}  // namespace recovery_test
