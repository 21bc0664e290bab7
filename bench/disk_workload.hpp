#pragma once

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

// What the stores on disk are filled with and asked for, made before anything is measured, and where they lie.
namespace bench {

inline constexpr std::size_t key_size = 24;

/// Keys in the order in which they are asked for, side by side in memory: fetching the next one must not cost more
/// than asking a store for it. Even numbers are in the stores; each odd one lies between two of them, so that a
/// store which knows its smallest and largest key must look nevertheless.
class Keys {
  public:
    /// Of 0 to `count` - 1, each once, in an order that is not their own: a cache's keys come in none.
    [[nodiscard]] static Keys all(std::size_t count, unsigned seed) {
        std::vector<std::size_t> numbers(count);
        std::iota(numbers.begin(), numbers.end(), std::size_t{0});
        std::shuffle(numbers.begin(), numbers.end(), std::mt19937(seed));
        return Keys(std::move(numbers), 0);
    }
    /// Drawn at random from 0 to `count` - 1.
    /// @param absent  the neighbours instead, which are in no store
    [[nodiscard]] static Keys drawn(std::size_t count, unsigned seed, bool absent = false) {
        std::mt19937 random(seed);
        std::uniform_int_distribution<std::size_t> pick(0, count - 1);
        std::vector<std::size_t> numbers(std::size_t{1} << 18U);
        for (std::size_t& number : numbers) number = pick(random);
        return Keys(std::move(numbers), absent ? 1 : 0);
    }

    [[nodiscard]] std::size_t size() const noexcept { return numbers_.size(); }
    [[nodiscard]] std::string_view text(std::size_t at) const noexcept {
        return {&text_[at * key_size], key_size};
    }
    [[nodiscard]] std::size_t number(std::size_t at) const noexcept { return numbers_[at]; }

  private:
    Keys(std::vector<std::size_t> numbers, std::size_t beside)
        : numbers_(std::move(numbers)), text_(numbers_.size() * key_size) {
        char key[key_size + 1];
        for (std::size_t i = 0; i < numbers_.size(); ++i) {
            std::snprintf(key, sizeof(key), "key:%020zu", 2 * numbers_[i] + beside);
            std::memcpy(&text_[i * key_size], key, key_size);
        }
    }
    std::vector<std::size_t> numbers_;
    std::vector<char> text_;
};

/// Incompressible values: windows of one random text, so that making one costs nothing.
class Values {
  public:
    explicit Values(std::size_t size) : size_(size), text_(size + windows) {
        std::mt19937_64 random(size);
        for (std::size_t i = 0; i < text_.size(); i += sizeof(std::uint64_t)) {
            const std::uint64_t bits = random();
            std::memcpy(&text_[i], &bits, std::min(sizeof(bits), text_.size() - i));
        }
    }
    /// @param version  what is written over a value differs from it
    [[nodiscard]] std::string_view of(std::size_t number, unsigned version) const noexcept {
        return {&text_[(number * 2654435761U + version * 40503U) % windows], size_};
    }
    /// Cheap: the two ends.
    [[nodiscard]] bool holds(std::string_view value, std::size_t number, unsigned version) const noexcept {
        const std::string_view expected = of(number, version);
        return value.size() == size_ && value.substr(0, 8) == expected.substr(0, 8) &&
               value.substr(size_ - 8) == expected.substr(size_ - 8);
    }

  private:
    // Few enough for the processor's caches: neither making nor comparing a value must cost a load from memory.
    static constexpr std::size_t windows = std::size_t{1} << 16U;
    std::size_t size_;
    std::vector<char> text_;
};

/// A fresh directory below TMPDIR or /tmp, gone with the object.
class TemporaryDirectory {
  public:
    TemporaryDirectory() {
        const char* const parent = std::getenv("TMPDIR");
        std::string name =
            std::string(parent != nullptr && *parent != '\0' ? parent : "/tmp") + "/bench-disk-XXXXXX";
        if (::mkdtemp(name.data()) == nullptr)
            throw std::system_error(errno, std::generic_category(), "mkdtemp " + name);
        path_ = name;
    }
    ~TemporaryDirectory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

  private:
    std::filesystem::path path_;
};

/// What `du` says: blocks of all files and directories, the uppermost too.
inline double bytes_on_disk(const std::filesystem::path& directory) {
    const auto blocks = [](const std::filesystem::path& path) {
        struct stat status {};
        if (::lstat(path.c_str(), &status) != 0)
            throw std::system_error(errno, std::generic_category(), path.string());
        return static_cast<double>(status.st_blocks) * 512;
    };
    double sum = blocks(directory);
    for (const auto& entry : std::filesystem::recursive_directory_iterator(directory))
        sum += blocks(entry.path());
    return sum;
}

}  // namespace bench
