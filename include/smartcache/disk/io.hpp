#pragma once

// The one seam between the disk store and the operating system: every system call on a file of the store goes
// through `Io`, so that tests can let each of them fail.

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__linux__)
#include <sys/statfs.h>
#endif

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <smartcache/core/bytes.hpp>

namespace smartcache::inline v0::detail {

[[nodiscard]] inline std::string errno_text(int error) {
    return std::generic_category().message(error) + " (errno " + std::to_string(error) + ")";
}

/// The system calls of the disk store. Each function returns like the call it is named after: -1 and `errno`.
/// Thread safety: any thread.
class Io {
  public:
    Io() = default;
    virtual ~Io() = default;
    Io(const Io&) = delete;
    Io& operator=(const Io&) = delete;

    /// The operating system itself.
    [[nodiscard]] static Io& system() {
        static Io io;
        return io;
    }

    virtual int make_directory(const char* path, mode_t mode) { return ::mkdir(path, mode); }
    virtual int open(const char* path, int flags) { return ::open(path, flags); }
    virtual int open_at(int directory, const char* name, int flags, mode_t mode) {
        return ::openat(directory, name, flags, mode);
    }
    virtual int close(int file) { return ::close(file); }
    virtual int status(int file, struct stat* result) { return ::fstat(file, result); }
    virtual int change_mode(int file, mode_t mode) { return ::fchmod(file, mode); }
    /// Makes `target` another name of `file`, whatever it was before, in one step.
    virtual int duplicate(int file, int target) { return ::dup3(file, target, O_CLOEXEC); }
    virtual int lock(int file) { return ::flock(file, LOCK_EX | LOCK_NB); }

    virtual ssize_t pread(int file, void* to, std::size_t size, std::uint64_t offset) {
        return ::pread(file, to, size, static_cast<off_t>(offset));
    }
    virtual ssize_t pwrite(int file, const void* from, std::size_t size, std::uint64_t offset) {
        return ::pwrite(file, from, size, static_cast<off_t>(offset));
    }
    /// Not for children of fork(2): they leave the store alone, and would keep the blocks of files that are removed (R33).
    virtual void* map(int file, std::size_t size, bool writable) {
        void* const address =
            ::mmap(nullptr, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, file, 0);
#if defined(MADV_DONTFORK)
        if (address != MAP_FAILED) (void)::madvise(address, size, MADV_DONTFORK);
#endif
        return address;
    }
    /// Whether the file's own blocks are not written over: then a write needs others also where there are some, and through a
    /// mapping may find the file system full, which is a SIGBUS.
    virtual bool copies_on_write([[maybe_unused]] int file) {
#if defined(__linux__)
        constexpr std::array<std::uint64_t, 3> known{0x9123'683E, 0x2FC1'2FC1,
                                                     0xCA45'1A4E};  // btrfs, ZFS, bcachefs
        struct statfs system {};
        return ::fstatfs(file, &system) == 0 &&
               std::find(known.begin(), known.end(), static_cast<std::uint32_t>(system.f_type)) !=
                   known.end();
#else
        return false;
#endif
    }
    virtual int unmap(void* address, std::size_t size) {
        return ::munmap(address, size);
    }
    virtual int truncate(int file, std::uint64_t size) {
        return ::ftruncate(file, static_cast<off_t>(size));
    }
    virtual int sync(int file) {
        return ::fdatasync(file);
    }

    /// Reserves blocks without changing the file's size. Not every file system can: EOPNOTSUPP.
    virtual int allocate([[maybe_unused]] int file, [[maybe_unused]] std::uint64_t size) {
#if defined(__linux__) && defined(FALLOC_FL_KEEP_SIZE)
        return ::fallocate(file, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(size));
#else
        errno = EOPNOTSUPP;
        return -1;
#endif
    }

    virtual int rename_at(int directory, const char* from, const char* to) {
        return ::renameat(directory, from, directory, to);
    }
    virtual int unlink_at(int directory, const char* name) {
        return ::unlinkat(directory, name, 0);
    }

    /// The names in a directory, without "." and "..".
    virtual int list(int directory, std::vector<std::string>& names) {
        const int file = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (file < 0) return -1;
        DIR* const stream = ::fdopendir(file);
        if (stream == nullptr) {
            (void)::close(file);
            return -1;
        }
        errno = 0;
        while (const dirent* entry = ::readdir(stream)) {
            std::string name = entry->d_name;
            if (name != "." && name != "..") names.push_back(std::move(name));
        }
        const int error = errno;
        (void)::closedir(stream);
        errno = error;
        return error == 0 ? 0 : -1;
    }
};

/// Owns a file descriptor.
class File {
  public:
    File() = default;
    File(Io& io, int descriptor) noexcept : io_(&io), descriptor_(descriptor) {}
    File(File&& other) noexcept : io_(other.io_), descriptor_(std::exchange(other.descriptor_, -1)) {}
    File& operator=(File&& other) noexcept {
        if (this != &other) {
            close();
            io_ = other.io_;
            descriptor_ = std::exchange(other.descriptor_, -1);
        }
        return *this;
    }
    ~File() { close(); }

    [[nodiscard]] explicit operator bool() const noexcept { return descriptor_ >= 0; }
    [[nodiscard]] int get() const noexcept { return descriptor_; }
    void close() noexcept {
        if (descriptor_ >= 0) (void)io_->close(std::exchange(descriptor_, -1));
    }

  private:
    Io* io_ = nullptr;
    int descriptor_ = -1;
};

/// Whether a call has failed for want of room: the file system's, or what a quota leaves to this user.
[[nodiscard]] inline bool no_room(int error) noexcept {
    return error == ENOSPC || error == EDQUOT;
}

/// Writes all of `bytes`. @return 0 or the error's number
[[nodiscard]] inline int write_fully(Io& io, int file, ByteView bytes, std::uint64_t offset) {
    while (!bytes.empty()) {
        const ssize_t written = io.pwrite(file, bytes.data(), bytes.size(), offset);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return written == 0 ? EIO : errno;
        bytes = bytes.subspan(static_cast<std::size_t>(written));
        offset += static_cast<std::uint64_t>(written);
    }
    return 0;
}

/// Reads until `to` is full or the file ends. @return 0 or the error's number; `got` is what was read
[[nodiscard]] inline int read_fully(Io& io, int file, std::span<std::byte> to, std::uint64_t offset,
                                    std::size_t& got) {
    got = 0;
    while (got < to.size()) {
        const ssize_t count = io.pread(file, to.data() + got, to.size() - got, offset + got);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return errno;
        if (count == 0) break;
        got += static_cast<std::size_t>(count);
    }
    return 0;
}

}  // namespace smartcache::inline v0::detail
