#pragma once

// The operating system, on a bad day.

#include <algorithm>
#include <cerrno>
#include <functional>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <smartcache/disk/io.hpp>

namespace smartcache_test {

namespace sc = smartcache;

/// Lets the calls with numbers in [from, to) fail. A write that fails has written its first half.
class FaultyIo final : public sc::detail::Io {
  public:
    /// As an `error`: reads and writes succeed with half of what was asked for, as they may; nothing else fails.
    static constexpr int halves = 0;
    static constexpr int for_ever = std::numeric_limits<int>::max();

    int calls = 0;
    int from = 0;
    int to = 0;
    int error = EIO;
    std::function<bool(const char*)> only = [](const char*) { return true; };
    std::set<std::string> struck;  // names of the calls that have failed

    void heal() { from = to = 0; }
    /// From now on `count` calls fail.
    void fail_next(int count) {
        from = calls;
        to = count > for_ever - calls ? for_ever : calls + count;
    }
    void fail_only(std::string_view name) {
        only = [name = std::string(name)](const char* call) { return name == call; };
    }

    int make_directory(const char* path, mode_t mode) override {
        return fails("mkdir") ? -1 : Io::make_directory(path, mode);
    }
    int open(const char* path, int flags) override { return fails("open") ? -1 : Io::open(path, flags); }
    int open_at(int directory, const char* name, int flags, mode_t mode) override {
        return fails("openat") ? -1 : Io::open_at(directory, name, flags, mode);
    }
    int status(int file, struct stat* result) override {
        return fails("fstat") ? -1 : Io::status(file, result);
    }
    int change_mode(int file, mode_t mode) override {
        return fails("fchmod") ? -1 : Io::change_mode(file, mode);
    }
    int lock(int file) override { return fails("flock") ? -1 : Io::lock(file); }
    ssize_t pread(int file, void* to_, std::size_t size, std::uint64_t offset) override {
        if (!strikes("pread")) return Io::pread(file, to_, size, offset);
        if (error == halves) return Io::pread(file, to_, half(size), offset);
        errno = error;
        return -1;
    }
    ssize_t pwrite(int file, const void* from_, std::size_t size, std::uint64_t offset) override {
        if (!strikes("pwrite")) return Io::pwrite(file, from_, size, offset);
        if (error == halves) return Io::pwrite(file, from_, half(size), offset);
        if (error != EINTR) (void)Io::pwrite(file, from_, size / 2, offset);
        errno = error;
        return -1;
    }
    void* map(int file, std::size_t size, bool writable) override {
        return fails("mmap") ? MAP_FAILED : Io::map(file, size, writable);
    }
    int truncate(int file, std::uint64_t size) override {
        return fails("ftruncate") ? -1 : Io::truncate(file, size);
    }
    int sync(int file) override { return fails("fdatasync") ? -1 : Io::sync(file); }
    int allocate(int file, std::uint64_t size) override {
        return fails("fallocate") ? -1 : Io::allocate(file, size);
    }
    int rename_at(int directory, const char* from_, const char* to_) override {
        return fails("rename") ? -1 : Io::rename_at(directory, from_, to_);
    }
    int unlink_at(int directory, const char* name) override {
        return fails("unlink") ? -1 : Io::unlink_at(directory, name);
    }
    int list(int directory, std::vector<std::string>& names) override {
        return fails("readdir") ? -1 : Io::list(directory, names);
    }

  private:
    static std::size_t half(std::size_t size) { return std::max<std::size_t>(size / 2, 1); }

    bool strikes(const char* call) {
        if (!only(call)) return false;
        const int number = calls++;
        if (number < from || number >= to) return false;
        struck.insert(call);
        return true;
    }
    bool fails(const char* call) {
        if (!strikes(call) || error == halves) return false;
        errno = error;
        return true;
    }
};

}  // namespace smartcache_test
