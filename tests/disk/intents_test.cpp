#include <smartcache/disk/intents.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include <smartcache/disk/disk_tier.hpp>

#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace disk_intents_test {

namespace sc = smartcache;
using sc::DiskMismatch;
using sc::Intents;
using sc::detail::DiskIntents;
using sc::detail::Io;
using sc::detail::StoreDirectory;
using smartcache_test::TempDir;

namespace {

using Texts = std::vector<std::string>;

/// The operating system, until the process is killed: then what it still writes is lost, and of a write that lies in several
/// pages the first ones may have been done.
class MortalIo final : public Io {
  public:
    std::size_t pages = std::numeric_limits<std::size_t>::max();  // that it lives to write
    int syncs = 0;

    ssize_t pwrite(int file, const void* from, std::size_t size, std::uint64_t offset) override {
        const auto* const bytes = static_cast<const char*>(from);
        for (std::size_t done = 0; done < size;) {
            const std::size_t piece =
                std::min<std::size_t>(size - done, 4096 - static_cast<std::size_t>((offset + done) % 4096));
            if (pages == 0) break;
            --pages;
            if (Io::pwrite(file, bytes + done, piece, offset + done) < 0) return -1;
            done += piece;
        }
        return static_cast<ssize_t>(size);
    }
    int sync(int file) override {
        ++syncs;
        return Io::sync(file);
    }
};

struct World {
    TempDir dir{TempDir::On::memory};
    StoreDirectory directory{Io::system(), dir / "store", DiskMismatch::refuse};
    std::filesystem::path file = dir / "store/INTENTS";

    [[nodiscard]] Intents::Kept take() { return DiskIntents(Io::system(), directory, false).take(); }
    void add(const Texts& texts) {
        DiskIntents intents(Io::system(), directory, false);
        (void)intents.take();
        for (const std::string& text : texts) REQUIRE(intents.add(text, {}));
    }
    [[nodiscard]] std::string bytes() const {
        std::ifstream in(file, std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    void replace(const std::string& bytes) const {
        std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
    }
};

}  // namespace

TEST_CASE("intents are there for who opens the directory next, until they are forgotten",
          "[disk][intents][r11]") {
    World world;
    CHECK(world.take().all.empty());
    world.add({"one", std::string(16, 'x'), std::string(5000, 'y')});
    world.add({std::string("z\0z", 3)});
    {
        DiskIntents intents(Io::system(), world.directory, false);
        const Intents::Kept kept = intents.take();
        CHECK(kept.all == Texts{"one", std::string(16, 'x'), std::string(5000, 'y'), std::string("z\0z", 3)});
        CHECK_FALSE(kept.incomplete);
        intents.forget();
        CHECK(intents.add("new", {}));
    }
    const Intents::Kept kept = world.take();
    CHECK(kept.all == Texts{"new"});
    CHECK_FALSE(kept.incomplete);
    CHECK(std::filesystem::file_size(world.file) == DiskIntents::file_size);
}

TEST_CASE("more intents than there is room for are noted as that", "[disk][intents][r11]") {
    World world;
    const std::string text(GENERATE(std::size_t{1}, std::size_t{100}, std::size_t{70'000}), 't');
    {
        DiskIntents intents(Io::system(), world.directory, false);
        (void)intents.take();
        for (std::size_t i = 0; i < 3000; ++i) REQUIRE(intents.add(text, {}));
    }
    CHECK(std::filesystem::file_size(world.file) == DiskIntents::file_size);
    CHECK(world.take().incomplete);
    DiskIntents intents(Io::system(), world.directory, false);
    CHECK(intents.take().incomplete);  // still
    intents.forget();
    CHECK(intents.add("new", {}));
    const Intents::Kept kept = world.take();
    CHECK(kept.all == Texts{"new"});
    CHECK_FALSE(kept.incomplete);
}

TEST_CASE("a process that is killed at any moment loses no intent, and makes none up",
          "[disk][intents][r11][crash]") {
    const Texts texts{"one", std::string(4070, 'x'), std::string(9000, 'y'), "four",
                      std::string(20'000, 'z')};
    for (const bool had_some : {false, true})
        for (std::size_t pages = 0; pages < 40; ++pages) {
            World world;
            if (had_some) world.add({"old", std::string(10'000, 'o')});
            MortalIo io;
            std::size_t returned = 0;
            bool emptied = false;
            {
                DiskIntents intents(io, world.directory, false);
                (void)intents.take();
                io.pages = pages;
                if (had_some) intents.forget();
                emptied = io.pages != 0;
                for (const std::string& text : texts) {
                    REQUIRE(intents.add(text, {}));
                    if (io.pages != 0) ++returned;
                }
            }
            const Intents::Kept kept = world.take();
            INFO(had_some << ' ' << pages << ' ' << returned << ' ' << kept.all.size());
            CHECK_FALSE(kept.incomplete);
            if (!emptied && had_some) continue;  // what was forgotten may be there, or not
            CHECK(kept.all.size() >= returned);
            CHECK(kept.all.size() <= texts.size());
            CHECK(std::equal(kept.all.begin(), kept.all.end(), texts.begin()));
        }
}

TEST_CASE("no intent is lost to a cut or a flipped bit without a word", "[disk][intents][r11][fuzz]") {
    World world;
    const Texts texts{"one", "and two", std::string(20, 'x')};
    world.add(texts);
    const std::string good = world.bytes();
    for (std::size_t at = 0; at < 160; ++at)
        for (unsigned bit = 0; bit < 8; ++bit) {
            std::string bad = good;
            bad[at] = static_cast<char>(bad[at] ^ (1 << bit));
            world.replace(bad);
            const Intents::Kept kept = world.take();
            INFO("byte " << at << ", bit " << bit);
            CHECK((kept.incomplete || kept.all == texts));
            CHECK(std::equal(kept.all.begin(), kept.all.end(), texts.begin()));
        }
    for (std::size_t size = 1; size < good.size(); size += size < 200 ? 1 : 997) {
        world.replace(good.substr(0, size));
        const Intents::Kept kept = world.take();
        INFO("cut to " << size);
        CHECK(kept.incomplete);
        CHECK(std::equal(kept.all.begin(), kept.all.end(), texts.begin()));
    }
}

TEST_CASE("where the file of intents has become zeros it is not taken for one that was emptied",
          "[disk][intents][r11]") {
    World world;
    const Texts texts{"one", std::string(5000, 'x'), std::string(5000, 'y'), "four"};
    world.add(texts);
    std::string bytes = world.bytes();
    const auto zeros = [&](std::size_t from, std::size_t size) {
        std::string bad = bytes;
        bad.replace(from, size, size, '\0');
        world.replace(bad);
        return world.take();
    };
    for (const std::size_t size : {std::size_t{16}, std::size_t{4096}, std::size_t{8192}, bytes.size()}) {
        INFO(size);
        CHECK(zeros(0, size).incomplete);
        CHECK(world.take().incomplete);  // still
    }
    for (const std::size_t size : {std::size_t{16}, std::size_t{4096}}) {
        const Intents::Kept kept = zeros(32, size);  // the second one's head, and what else
        INFO(size);
        CHECK(kept.incomplete);
        CHECK(kept.all == Texts{"one"});
    }

    DiskIntents intents(Io::system(), world.directory, false);
    (void)intents.take();
    intents.forget();
    bytes = world.bytes();
    CHECK_FALSE(world.take().incomplete);
    world.replace(bytes.substr(0, 4096));  // of a process that was killed when it made the file
    CHECK_FALSE(world.take().incomplete);
    world.replace({});
    CHECK_FALSE(world.take().incomplete);
}

TEST_CASE("intents that do not fit leave behind what they are about", "[disk][intents][r11]") {
    World world;
    const std::string text(1000, 't');
    const auto fill = [&](const std::string& prefix, std::size_t others) {
        DiskIntents intents(Io::system(), world.directory, false);
        (void)intents.take();
        for (int i = 0; i < 100; ++i) REQUIRE(intents.add(text, prefix));
        for (std::size_t i = 0; i < others; ++i) REQUIRE(intents.add(text, prefix + std::to_string(i)));
    };
    const auto has = [](const Intents::Kept& kept, const std::string& what) {
        return std::count(kept.all.begin(), kept.all.end(), what);
    };
    fill("a", 0);
    fill("b", 50);
    fill("b", 50);
    const Intents::Kept kept = world.take();
    CHECK_FALSE(kept.incomplete);
    CHECK(has(kept, "a") == 1);
    CHECK(has(kept, "b") == 1);
    CHECK(has(kept, "b49") == 1);
    fill("c", 500);
    const Intents::Kept more = world.take();
    CHECK(more.incomplete);
    CHECK(has(more, "a") + has(more, "b") + has(more, "c") == 3);
    CHECK(world.take().all == more.all);
    CHECK(std::filesystem::file_size(world.file) == DiskIntents::file_size);
}

TEST_CASE("what is added to damaged intents is kept, too", "[disk][intents][r11]") {
    World world;
    world.add({"one", "two"});
    std::string bytes = world.bytes();
    bytes[40] = static_cast<char>(~bytes[40]);  // in the second one's head
    world.replace(bytes);
    world.add({"three"});
    const Intents::Kept kept = world.take();
    CHECK(kept.incomplete);
    CHECK(kept.all == Texts{"one", "three"});
}

// As root nothing is forbidden, so it is a link, which is not followed.
TEST_CASE("a file of intents that cannot be opened may hold any", "[disk][intents][r11]") {
    const TempDir dir(TempDir::On::memory);
    std::filesystem::create_directory(dir / "store");
    std::filesystem::create_symlink(dir / "elsewhere", dir / "store/INTENTS");
    const StoreDirectory directory(Io::system(), dir / "store", DiskMismatch::refuse);
    DiskIntents intents(Io::system(), directory, false);
    const Intents::Kept kept = intents.take();
    CHECK(kept.incomplete);
    CHECK(kept.all.empty());
    CHECK_FALSE(intents.add("new", {}));
}

TEST_CASE("intents follow a store into the directory that it makes for one that was removed",
          "[disk][intents][r11]") {
    World world;
    DiskIntents intents(Io::system(), world.directory, false);
    (void)intents.take();
    REQUIRE(intents.add("before", {}));
    std::filesystem::remove_all(world.dir / "store");
    CHECK_FALSE(intents.add("between", {}));  // nobody would find it
    REQUIRE(world.directory.reopen());
    CHECK(intents.add("after", {}));
    CHECK(std::filesystem::file_size(world.file) == DiskIntents::file_size);
    const Intents::Kept kept = world.take();
    CHECK(kept.all == Texts{"before", "between", "after"});
    CHECK_FALSE(kept.incomplete);
    intents.forget();
    CHECK(world.take().all.empty());
}

TEST_CASE("what must outlive a power failure is synced before add returns", "[disk][intents][r11]") {
    World world;
    for (const bool sync : {false, true}) {
        MortalIo io;
        DiskIntents intents(io, world.directory, sync);
        (void)intents.take();
        const int before = io.syncs;
        CHECK(intents.add("one", {}));
        CHECK(io.syncs == before + (sync ? 1 : 0));
    }
}

TEST_CASE("a power failure does not lose the name of the file of intents", "[disk][intents][r11]") {
    class Names final : public Io {
      public:
        int synced = 0;
        int sync(int file) override {
            struct stat status {};
            REQUIRE(Io::status(file, &status) == 0);
            synced += S_ISDIR(status.st_mode) ? 1 : 0;
            return Io::sync(file);
        }
    } io;
    World world;
    DiskIntents intents(io, world.directory, true);
    (void)intents.take();
    CHECK(io.synced == 1);
    CHECK(intents.add("one", {}));
    CHECK(io.synced == 1);
    std::filesystem::remove_all(world.dir / "store");
    REQUIRE(world.directory.reopen());
    CHECK(intents.add("two", {}));
    CHECK(io.synced == 2);
}

TEST_CASE("the file of intents is one of the store's, and counts", "[disk][intents][bound]") {
    TempDir dir;
    const auto files = [&] {
        std::uintmax_t sum = 4096;  // the directory itself
        for (const auto& each : std::filesystem::directory_iterator(dir / "store"))
            sum += (each.file_size() + 4095) / 4096 * 4096;
        return sum;
    };
    sc::DiskOptions options{.path = dir / "store", .max_size = std::uint64_t{1} << 20U};
    options.write = sc::WriteMode::through;
    for (const bool wanted : {true, false}) {  // then it is there all the same
        sc::TierContext context;
        context.keeps_intents = wanted;
        sc::DiskTier tier(options, context);
        CHECK((tier.intents() != nullptr) == wanted);
        std::uintmax_t most = 0;
        for (int i = 0; i < 3000; ++i) {
            (void)tier.set(std::to_string(i), std::string(1000, 'v'));
            if (i % 10 == 0) most = std::max(most, files());
        }
        CHECK(most <= options.max_size);
        CHECK(most > options.max_size / 2);
        CHECK(tier.stats().bytes <= options.max_size);
    }
    std::filesystem::remove(dir / "store/MANIFEST");
    CHECK_NOTHROW(sc::DiskTier(options));
}

}  // namespace disk_intents_test
