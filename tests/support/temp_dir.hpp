#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>

namespace smartcache_test {

/// An empty directory of this test's own, removed with all that is in it.
class TempDir {
  public:
    enum class On { disk, memory };

    /// @param on  `memory`: on a file system in memory where there is one, for tests that create files by the
    /// thousand
    explicit TempDir(On on = On::disk) {
        const std::filesystem::path memory = "/dev/shm";
        const bool in_memory = on == On::memory && ::access(memory.c_str(), W_OK) == 0;
        const std::filesystem::path base = in_memory ? memory : std::filesystem::temp_directory_path();
        std::string pattern = (base / "smartcache-test-XXXXXX").string();
        if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp " + pattern);
        path_ = pattern;
    }
    ~TempDir() {
        std::error_code ignored;
        std::filesystem::permissions(path_, std::filesystem::perms::owner_all, ignored);
        std::filesystem::remove_all(path_, ignored);
    }
    TempDir(const TempDir&) = delete;
    TempDir& operator=(const TempDir&) = delete;

    [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
    [[nodiscard]] std::filesystem::path operator/(const std::filesystem::path& name) const {
        return path_ / name;
    }

  private:
    std::filesystem::path path_;
};

}  // namespace smartcache_test
