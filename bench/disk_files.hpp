#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

#include <smartcache/core/hash.hpp>

namespace bench {

/// What a store is opened with.
struct Setup {
    std::filesystem::path directory;
    std::size_t bytes = 0;       ///< of all keys and values that it will hold
    std::size_t value_size = 0;  ///< of each
    bool logged = false;         ///< with the write-ahead log, where that can be chosen
};

/// What one writes without a library; disk_rivals.hpp tells the settings of all stores.
class Files {
  public:
    static constexpr const char* name = "files";
    static constexpr bool reopened = false;
    static constexpr std::size_t most = 5'000;
    explicit Files(const Setup& setup) : directory_(setup.directory.string()) {
        for (unsigned i = 0; i < fan_out; ++i) std::filesystem::create_directory(directory_ + folder(i));
    }
    void flush() {}

    class Session {
      public:
        explicit Session(Files& store)
            : store_(store), fresh_(store.directory_ + "/new" + std::to_string(store.sessions_++)) {}
        void put(std::string_view key, std::string_view value) {
            const int file = check(::open(fresh_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
            const auto written = ::write(file, value.data(), value.size());
            if (::close(file) != 0 || written != static_cast<ssize_t>(value.size())) check(-1);
            check(std::rename(fresh_.c_str(), store_.path(key).c_str()));
        }
        bool get(std::string_view key, std::string& out) {
            const int file = ::open(store_.path(key).c_str(), O_RDONLY | O_CLOEXEC);
            if (file < 0 && errno == ENOENT) return false;
            check(file);
            struct stat status {};
            check(::fstat(file, &status));
            out.resize(static_cast<std::size_t>(status.st_size));
            const auto got = ::read(file, out.data(), out.size());
            if (::close(file) != 0 || got != status.st_size) check(-1);
            return true;
        }

      private:
        static int check(int result) {
            if (result < 0) throw std::system_error(errno, std::generic_category(), "a file");
            return result;
        }
        Files& store_;
        std::string fresh_;
    };

  private:
    static constexpr unsigned fan_out = 256;
    [[nodiscard]] static std::string folder(unsigned number) {
        char text[8];
        std::snprintf(text, sizeof(text), "/%02x/", number);
        return text;
    }
    [[nodiscard]] std::string path(std::string_view key) const {
        const auto hash = smartcache::stable_hash(smartcache::as_byte_view(key));
        return (directory_ + folder(static_cast<unsigned>(hash % fan_out))).append(key);
    }
    std::string directory_;
    std::atomic<unsigned> sessions_{0};
};

}  // namespace bench
