#pragma once

// A valid small store, damaged as a script says, is opened and used. The script is the fuzzer's input: see `Damage`.

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <smartcache/core/error.hpp>
#include <smartcache/disk/disk_tier.hpp>

#include "disk/fixture.hpp"

namespace smartcache_test {

/// What a script does to the files of a store. Each step is a byte that says what, one that says to which file, and
/// arguments; where the input ends, zeros follow. Positions are taken modulo the file's size, so that any bytes are
/// a script, and the same script means something in a store of any format.
class Damage {
  public:
    Damage(std::map<std::string, Bytes> files, sc::ByteView script)
        : files_(std::move(files)), script_(script) {
        files_.erase("LOCK");
        // One more segment than there are, for copies.
        std::uint64_t last = 0;
        for (const auto& [name, bytes] : files_)
            if (name.ends_with(".seg")) last = std::strtoull(name.c_str(), nullptr, 10);
        std::string digits = std::to_string(last + 1);
        names_.push_back(digits.insert(0, 8 - digits.size(), '0') + ".seg");
        for (const auto& [name, bytes] : files_) names_.push_back(name);
    }

    void apply() {
        constexpr int most_steps = 64;
        for (int i = 0; i < most_steps && !script_.empty(); ++i) step();
    }

    [[nodiscard]] const std::map<std::string, Bytes>& files() const noexcept { return files_; }
    [[nodiscard]] bool touched(const std::string& name) const { return touched_.contains(name); }

  private:
    std::size_t take(int bytes) {
        std::size_t number = 0;
        for (; bytes > 0 && !script_.empty(); --bytes) {
            number = number << 8U | std::to_integer<std::size_t>(script_.front());
            script_ = script_.subspan(1);
        }
        return number;
    }
    const std::string& some_name() { return names_[take(1) % names_.size()]; }
    std::size_t some_place(const Bytes& bytes) { return bytes.empty() ? 0 : take(3) % bytes.size(); }
    /// A copy of some bytes of some file.
    Bytes some_bytes() {
        const Bytes& from = files_[some_name()];
        const std::size_t begin = some_place(from);
        const std::size_t size = std::min(take(2), from.size() - begin);
        return {from.begin() + static_cast<std::ptrdiff_t>(begin),
                from.begin() + static_cast<std::ptrdiff_t>(begin + size)};
    }
    static void put(Bytes& bytes, std::size_t at, const Bytes& what) {
        for (std::size_t i = 0; i < what.size() && at + i < bytes.size(); ++i) bytes[at + i] = what[i];
    }

    void step() {
        constexpr std::size_t largest = 200'000;
        const std::size_t kind = take(1) % 12;
        const std::string& name = some_name();
        touched_[name] = true;
        Bytes& bytes = files_[name];
        const std::size_t at = some_place(bytes);
        const auto here = bytes.begin() + static_cast<std::ptrdiff_t>(at);
        switch (kind) {
            case 0:
                if (!bytes.empty()) bytes[at] ^= static_cast<std::byte>(1U << take(1) % 8);
                break;
            case 1: {
                Bytes literal(1 + take(1) % 24);
                for (std::byte& byte : literal) byte = static_cast<std::byte>(take(1));
                put(bytes, at, literal);
                break;
            }
            case 2:
                put(bytes, at, some_bytes());
                break;
            case 3:
                bytes.resize(at);
                break;
            case 4:
                bytes.resize(std::min(bytes.size() + take(2), largest), static_cast<std::byte>(take(1)));
                break;
            case 5:
                files_.erase(name);
                break;
            case 6:
                put(bytes, at, Bytes(take(2), static_cast<std::byte>(take(1))));
                break;
            case 7: {
                const Bytes more = some_bytes();
                bytes.insert(here, more.begin(), more.end());
                if (bytes.size() > largest) bytes.resize(largest);
                break;
            }
            case 8:
                bytes.erase(here, here + static_cast<std::ptrdiff_t>(std::min(take(2), bytes.size() - at)));
                break;
            case 9: {
                const std::string& other = some_name();
                touched_[other] = true;
                std::swap(bytes, files_[other]);
                break;
            }
            case 10: {
                const Bytes whole = files_[some_name()];
                bytes = whole;
                break;
            }
            default:  // what is left of the script is the file
                bytes.assign(script_.begin(), script_.end());
                script_ = {};
                break;
        }
    }

    std::map<std::string, Bytes> files_;
    std::vector<std::string> names_;
    std::map<std::string, bool> touched_;
    sc::ByteView script_;
};

class SegmentFuzz : DiskFixture {
  public:
    SegmentFuzz() : DiskFixture(TempDir::On::memory) {
        options.write = sc::WriteMode::through;
        name_space = "ns";
        open();
        Dice dice(1);
        // Overwrites, erases and a clear, over some segments and with a restart between.
        for (int i = 0; segments().size() < 3 || i < 60; ++i) {
            const std::string key = key_name(dice.below(key_count));
            if (dice.one_in(6)) {
                (void)erase(key);
            } else {
                (void)set(key, value_of(key, stored_ + 1, dice.below(3000)));
                ++stored_;
            }
            if (i == 12) (void)tier->clear("other");
            if (i % 30 == 29) reopen();
        }
        close();
        for (const auto& entry : std::filesystem::directory_iterator(options.path))
            whole_[entry.path().filename().string()] = read_bytes(entry.path());
    }

    /// @return what went wrong, or nothing
    std::string run(sc::ByteView input) {
        options.io = !input.empty() && (input.front() & std::byte{1}) != std::byte{0} ? sc::DiskIo::pread
                                                                                      : sc::DiskIo::mmap;
        Damage damage(whole_, input.empty() ? input : input.subspan(1));
        damage.apply();
        std::filesystem::remove_all(options.path);
        std::filesystem::create_directory(options.path);
        std::filesystem::permissions(options.path, std::filesystem::perms::owner_all);
        for (const auto& [name, bytes] : damage.files()) write_bytes(options.path / name, bytes);

        wrong_.clear();
        if (!try_open(damage)) return wrong_;
        look();
        if (set("new", value_of("new", 1)) != sc::TierStatus::ok || get("new") != value_of("new", 1))
            blame("new", "unusable");
        (void)erase(key_name(0));
        (void)set(key_name(1), value_of(key_name(1), stored_ + 1));
        (void)tier->run_maintenance();
        look();
        close();
        if (!try_open(damage)) return wrong_.empty() ? "cannot be opened again" : wrong_;
        look();
        if (get("new") != value_of("new", 1)) blame("new", "lost");
        if (get(key_name(0))) blame(key_name(0), "came back");
        if (const auto value = get(key_name(1)); value && version_in(key_name(1), *value) != stored_ + 1)
            blame(key_name(1), "is old");
        if (disk_usage(options.path) > options.max_size) blame("all", "more than max_size");
        close();
        return wrong_;
    }

    std::uint64_t hits = 0;  // of what was stored before the damage, and intact after it

  private:
    static constexpr std::size_t key_count = 24;
    static std::string key_name(std::size_t i) { return "k" + std::to_string(i); }

    void blame(const std::string& key, const char* what) {
        if (wrong_.empty()) wrong_ = key + " " + what;
    }
    bool try_open(const Damage& damage) {
        try {
            open();
            return true;
        } catch (const sc::ConfigError& error) {
            // Of another format version, it seems: that is for the caller to decide about.
            if (!damage.touched("MANIFEST")) wrong_ = error.what();
            return false;
        }
    }
    void look() {
        for (std::size_t i = 0; i < key_count; ++i) {
            const std::string key = key_name(i);
            const auto value = get(key);
            if (!value) continue;
            ++hits;
            const auto version = version_in(key, *value);
            if (!version || *version > stored_ + 1) blame(key, "has a value that was never stored under it");
        }
    }

    std::map<std::string, Bytes> whole_;
    std::uint64_t stored_ = 0;  // versions given out
    std::string wrong_;
};

}  // namespace smartcache_test
