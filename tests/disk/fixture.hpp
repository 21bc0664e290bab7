#pragma once

#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <smartcache/disk/disk_tier.hpp>
#include <smartcache/testing.hpp>

#include "support/temp_dir.hpp"

namespace smartcache_test {

namespace sc = smartcache;
using namespace std::chrono_literals;

/// One directory and the tier that is open on it, with verbs for keys and texts.
class DiskFixture {
  public:
    explicit DiskFixture(TempDir::On on = TempDir::On::disk) : dir(on) {
        options.path = dir / "store";
        options.max_size = 1U << 20U;
        context.time = sc::TimeSource(&clock);
    }

    void open() { tier = std::make_unique<sc::DiskTier>(options, context, tuning); }
    void close() { tier.reset(); }
    void reopen() {
        close();
        open();
    }

    sc::RecordView record(std::string_view physical, std::string_view value, sc::Duration ttl = 1h) {
        sc::RecordView view;
        view.key = physical;
        view.payload = sc::as_byte_view(value);
        view.raw_size = value.size();
        view.kind = sc::ValueKind::text;
        view.stamp = ++stamp;
        view.created = clock.wall();
        view.expires = sc::saturating_add(view.created, ttl);
        return view;
    }
    sc::TierStatus set(std::string_view key, std::string_view value, sc::Duration ttl = 1h,
                       sc::WriteCondition condition = {}) {
        const std::string physical = sc::physical_key(name_space, key);
        return tier->write(record(physical, value, ttl), condition);
    }
    std::optional<std::string> get(std::string_view key) {
        std::optional<std::string> value;
        status = tier->read(sc::physical_key(name_space, key), [&](const sc::RecordView& found) {
            value = std::string(sc::as_text_view(found.payload));
            found_stamp = found.stamp;
        });
        return value;
    }
    sc::TierStatus erase(std::string_view key) { return tier->remove(sc::physical_key(name_space, key)); }
    bool contains(std::string_view key) {
        return tier->contains(sc::physical_key(name_space, key)) == sc::TierStatus::ok;
    }

    std::vector<std::filesystem::path> segments() const {
        std::vector<std::filesystem::path> paths;
        for (const auto& entry : std::filesystem::directory_iterator(options.path))
            if (entry.path().extension() == ".seg") paths.push_back(entry.path());
        std::sort(paths.begin(), paths.end());
        return paths;
    }

    TempDir dir;
    sc::FakeClock clock;
    sc::DiskOptions options;
    sc::TierContext context;
    sc::detail::DiskTuning tuning;
    std::unique_ptr<sc::DiskTier> tier;
    std::string name_space;
    std::uint64_t stamp = 0;
    std::uint64_t found_stamp = 0;
    sc::TierStatus status{};
};

/// Bytes of all files in a directory: lengths and blocks, whichever is more for each file. Files that vanish
/// while this looks count as gone.
inline std::uint64_t disk_usage(const std::filesystem::path& path) {
    std::uint64_t sum = 0;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(path, ignored)) {
        struct stat status {};
        if (::stat(entry.path().c_str(), &status) != 0) continue;
        sum += std::max(static_cast<std::uint64_t>(status.st_size),
                        static_cast<std::uint64_t>(status.st_blocks) * 512);
    }
    return sum;
}

/// What `du` says of the directory, itself included; nullopt when files came or went while this looked. Then the
/// sum would be of files that were never there together.
inline std::optional<std::uint64_t> steady_disk_usage(const std::filesystem::path& path) {
    const auto names = [&path] {
        std::vector<std::string> found;
        std::error_code ignored;
        for (const auto& entry : std::filesystem::directory_iterator(path, ignored))
            found.push_back(entry.path().filename().string());
        std::sort(found.begin(), found.end());
        return found;
    };
    const auto before = names();
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) return std::nullopt;
    std::uint64_t sum = static_cast<std::uint64_t>(status.st_blocks) * 512;
    for (const std::string& name : before) {
        if (::stat((path / name).c_str(), &status) != 0) return std::nullopt;
        sum += std::max(static_cast<std::uint64_t>(status.st_size),
                        static_cast<std::uint64_t>(status.st_blocks) * 512);
    }
    return names() == before ? std::optional(sum) : std::nullopt;
}

/// Random numbers that are the same in every run with the same seed.
class Dice {
  public:
    explicit Dice(std::uint64_t seed) : state_(seed * 0x9E37'79B9'7F4A'7C15U + 1) {}
    std::uint64_t next() {
        state_ = state_ * 6364136223846793005U + 1442695040888963407U;
        return state_ >> 33U;
    }
    std::size_t below(std::size_t bound) { return static_cast<std::size_t>(next() % bound); }
    bool one_in(std::size_t bound) { return below(bound) == 0; }

  private:
    std::uint64_t state_;
};

/// How long a test runs: `usual`, unless the environment says otherwise.
inline std::uint64_t from_environment(const char* name, std::uint64_t usual) {
    const char* const wanted = std::getenv(name);
    return wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : usual;
}

using Bytes = std::vector<std::byte>;

inline Bytes read_bytes(const std::filesystem::path& path) {
    Bytes bytes(static_cast<std::size_t>(std::filesystem::file_size(path)));
    std::ifstream file(path, std::ios::binary);
    file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    bytes.resize(static_cast<std::size_t>(file.gcount()));
    return bytes;
}

inline void write_bytes(const std::filesystem::path& path, sc::ByteView bytes) {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

/// All files of a store, to put it back as it was.
class Snapshot {
  public:
    explicit Snapshot(const std::filesystem::path& path) : path_(path) {
        for (const auto& entry : std::filesystem::directory_iterator(path))
            files_[entry.path().filename().string()] = read_bytes(entry.path());
    }
    void restore() const {
        std::vector<std::filesystem::path> strangers;
        for (const auto& entry : std::filesystem::directory_iterator(path_))
            if (!files_.contains(entry.path().filename().string())) strangers.push_back(entry.path());
        for (const auto& stranger : strangers) std::filesystem::remove(stranger);
        for (const auto& [name, bytes] : files_) write_bytes(path_ / name, bytes);
    }
    [[nodiscard]] const std::map<std::string, Bytes>& files() const noexcept { return files_; }

  private:
    std::filesystem::path path_;
    std::map<std::string, Bytes> files_;
};

/// Text that names its owner, so that a foreign value shows, and of which every byte is known.
inline std::string value_of(std::string_view key, std::uint64_t version, std::size_t size = 40) {
    static const std::string letters = [] {
        std::string text;
        std::uint64_t state = 1;
        for (int i = 0; i < 4096; ++i) {
            state = state * 6364136223846793005U + 1442695040888963407U;
            text.push_back(static_cast<char>('a' + (state >> 33U) % 26));
        }
        return text;
    }();
    std::string text = std::string(key) + "#" + std::to_string(version) + "#";
    std::size_t from = sc::stable_hash(sc::as_byte_view(text)) % letters.size();
    for (; text.size() < size; from = 0) text.append(letters, from, size - text.size());
    return text;
}

/// The version in a text made by `value_of` for `key`; nullopt when the text was made otherwise.
inline std::optional<std::uint64_t> version_in(std::string_view key, const std::string& text) {
    const std::string head = std::string(key) + "#";
    if (text.rfind(head, 0) != 0) return std::nullopt;
    const std::uint64_t version = std::strtoull(text.c_str() + head.size(), nullptr, 10);
    return text == value_of(key, version, text.size()) ? std::optional(version) : std::nullopt;
}

}  // namespace smartcache_test
