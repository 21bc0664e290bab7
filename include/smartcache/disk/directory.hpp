#pragma once

#include <pthread.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <smartcache/core/error.hpp>
#include <smartcache/core/hash.hpp>
#include <smartcache/core/mutex.hpp>
#include <smartcache/disk/format.hpp>
#include <smartcache/disk/io.hpp>
#include <smartcache/disk/options.hpp>

namespace smartcache::inline v0::detail {

class StoreDirectory;

/// The directories that this process has open. A child of fork(2) lets go of them: it would keep their locks for as long as it
/// lives, and nobody could open them again when the parent has closed them or is gone (R33).
class OpenDirectories {
  public:
    OpenDirectories() = delete;

    static void enter(StoreDirectory& directory);
    static void leave(StoreDirectory& directory);

  private:
    static void in_child() noexcept;

    static inline constinit Mutex mutex_;  // so that fork(2) finds nobody in the middle of a change
    static inline constinit StoreDirectory* first_ = nullptr;
    static inline const int registered_ = ::pthread_atfork(nullptr, nullptr, &in_child);
};

/// The store's directory: ours alone by owner, mode and lock. All files are reached through its descriptor,
/// so that nobody can put another directory into its place.
///
/// Thread safety: after `open`, everything but `reopen` from any thread.
class StoreDirectory {
  public:
    /// Creates the directory where there is none, takes the lock, and reads or creates the manifest.
    /// @throws ConfigError naming the path and the reason: not a directory, a symbolic link, another owner,
    /// another
    ///         cache (with its process id), files that are not ours, another format version, any system
    ///         call's error
    StoreDirectory(Io& io, const std::filesystem::path& path, DiskMismatch on_other_format)
        : StoreDirectory(io, without_slash(path)) {
        enter();
        read_manifest(on_other_format);
    }
    StoreDirectory(const StoreDirectory&) = delete;
    StoreDirectory& operator=(const StoreDirectory&) = delete;
    ~StoreDirectory() { OpenDirectories::leave(*this); }

    [[nodiscard]] int descriptor() const noexcept { return directory_.get(); }
    [[nodiscard]] std::uint64_t token() const noexcept { return token_; }
    /// Why the store was started empty although there was something; empty when it was not.
    [[nodiscard]] const std::string& reset_reason() const noexcept { return reset_reason_; }

    /// Whether an earlier process has left a file of intents, which counts, needed or not.
    [[nodiscard]] bool has_intents() const noexcept { return has_intents_; }

    /// Somebody removed the directory while we had it open.
    [[nodiscard]] bool removed() const {
        struct stat status {};
        return io_.status(directory_.get(), &status) == 0 && status.st_nlink == 0;
    }

    /// Starts again under the same path with an empty store and the same token, after `removed`.
    /// @return false: still impossible
    [[nodiscard]] bool reopen() {
        try {
            StoreDirectory fresh(io_, path_, token_);
            // The descriptor keeps its number: others may be using it at this moment.
            if (io_.duplicate(fresh.directory_.get(), directory_.get()) < 0) return false;
            lock_ = std::move(fresh.lock_);
            return true;
        } catch (const ConfigError&) {
            return false;
        }
    }

    /// The ids of the segments that are there, ascending. @return the error's number or 0
    [[nodiscard]] int list_segments(std::vector<std::uint64_t>& ids) const {
        std::vector<std::string> names;
        if (io_.list(directory_.get(), names) != 0) return errno;
        for (const std::string& name : names)
            if (const auto id = segment_id(name)) ids.push_back(*id);
        std::sort(ids.begin(), ids.end());
        return 0;
    }

    /// A file of ours: never through a symbolic link, readable by nobody else.
    [[nodiscard]] File open_file(std::string_view name, int flags) const {
        const std::string text(name);
        return {io_, io_.open_at(directory_.get(), text.c_str(), flags | O_NOFOLLOW | O_CLOEXEC, 0600)};
    }

    /// @return the error's number, or 0, also when there is no such file
    [[nodiscard]] int unlink(std::string_view name) const {
        const std::string text(name);
        return io_.unlink_at(directory_.get(), text.c_str()) == 0 || errno == ENOENT ? 0 : errno;
    }

  private:
    friend OpenDirectories;

    StoreDirectory(Io& io, std::filesystem::path path) : io_(io), path_(std::move(path)) {
        OpenDirectories::enter(*this);
    }
    StoreDirectory(Io& io, const std::filesystem::path& path, std::uint64_t token)
        : StoreDirectory(io, path) {
        enter();
        create_manifest(token);
    }

    // "dir/" would follow a symbolic link even with O_NOFOLLOW.
    static std::filesystem::path without_slash(const std::filesystem::path& path) {
        std::filesystem::path clean = path.lexically_normal();
        return clean.has_filename() ? clean : clean.parent_path();
    }

    [[noreturn]] void refuse(const std::string& reason) const {
        throw ConfigError("disk.path", path_.string(),
                          "a directory of this user's for one cache alone; " + reason);
    }
    [[noreturn]] void refuse_call(const char* what, int error) const {
        refuse(std::string(what) + ": " + errno_text(error));
    }

    void enter() {
        open_directory();
        const std::vector<std::string> names = list();
        has_intents_ = std::find(names.begin(), names.end(), intents_name) != names.end();
        refuse_foreign(names);  // before anything is changed, also the mode, of one that was named by mistake
        close_to_others();
        take_lock();
    }

    void open_directory() {
        std::error_code ignored;  // what is missing shows in mkdir's own error
        std::filesystem::create_directories(path_.parent_path(), ignored);
        if (io_.make_directory(path_.c_str(), 0700) != 0 && errno != EEXIST) refuse_call("mkdir", errno);
        if (std::filesystem::is_symlink(std::filesystem::symlink_status(path_, ignored)))
            refuse("it is a symbolic link");
        directory_ = File(io_, io_.open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!directory_) refuse_call("open", errno);
        struct stat status {};
        if (io_.status(directory_.get(), &status) != 0) refuse_call("fstat", errno);
        if (status.st_uid != ::geteuid()) refuse("it belongs to user " + std::to_string(status.st_uid));
    }

    void close_to_others() const {
        struct stat status {};
        if (io_.status(directory_.get(), &status) != 0) refuse_call("fstat", errno);
        if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0 && io_.change_mode(directory_.get(), 0700) != 0)
            refuse_call("others may write to it, and chmod failed", errno);
    }

    [[nodiscard]] std::vector<std::string> list() const {
        std::vector<std::string> names;
        if (io_.list(directory_.get(), names) != 0) refuse_call("readdir", errno);
        return names;
    }

    static bool ours(std::string_view name) {
        return name == lock_name || name == manifest_name || name == new_manifest_name ||
               name == kills_name || name == intents_name || name == probe_name || name == "lost+found" ||
               segment_id(name).has_value();
    }

    void refuse_foreign(const std::vector<std::string>& names) const {
        if (std::find(names.begin(), names.end(), manifest_name) != names.end()) return;
        for (const std::string& name : names)
            if (!ours(name)) refuse("it is no cache, and it holds other files (\"" + name + "\")");
    }

    void take_lock() {
        // The directory as well: those who clean up /tmp leave a locked one alone, and LOCK itself might be cleaned up.
        if (io_.lock(directory_.get()) != 0 && errno == EWOULDBLOCK) refuse_owned();
        lock_ = open_file(lock_name, O_RDWR | O_CREAT);
        if (!lock_) refuse_call("open LOCK", errno);
        if (io_.lock(lock_.get()) != 0) {
            if (errno != EWOULDBLOCK) refuse_call("flock LOCK", errno);
            refuse_owned();
        }
        const std::string pid = std::to_string(::getpid()) + "\n";
        int error = io_.truncate(lock_.get(), 0) == 0 ? 0 : errno;
        if (error == 0) error = write_fully(io_, lock_.get(), as_byte_view(pid), 0);
        if (error != 0) refuse_call("write LOCK", error);
    }

    [[noreturn]] void refuse_owned() const { refuse("another cache uses it: process " + owner()); }

    [[nodiscard]] std::string owner() const {
        const File file = open_file(lock_name, O_RDONLY);
        std::array<std::byte, 32> bytes{};
        std::size_t got = 0;
        if (file) (void)read_fully(io_, file.get(), bytes, 0, got);
        const std::string_view text = as_text_view(ByteView(bytes).first(got));
        std::int64_t pid = 0;
        if (std::from_chars(text.data(), text.data() + text.size(), pid).ec != std::errc{}) return "unknown";
        return std::to_string(pid) + (pid == ::getpid() ? " (this one)" : "");
    }

    void read_manifest(DiskMismatch on_other_format) {
        const File file = open_file(manifest_name, O_RDONLY);
        if (!file && errno == ENOENT) return create_manifest(random_stamp());
        if (!file) refuse_call("open MANIFEST", errno);
        std::array<std::byte, 4096> bytes{};
        std::size_t got = 0;
        if (const int error = read_fully(io_, file.get(), bytes, 0, got)) refuse_call("read MANIFEST", error);
        const std::span<std::byte> content = std::span(bytes).first(got);
        std::optional<Manifest> manifest = parse_manifest(content);
        if (!manifest && repair_one_bit(content, [&] { return parse_manifest(content).has_value(); }))
            manifest = parse_manifest(content);
        if (!manifest) {
            reset_reason_ = "the manifest was damaged";
            return create_manifest(random_stamp());
        }
        if (manifest->version != disk_format_version) {
            const std::string found =
                "it holds a store of format version " + std::to_string(manifest->version);
            if (on_other_format == DiskMismatch::refuse)
                refuse(found + ", this build reads version " + std::to_string(disk_format_version) +
                       ": use another directory, empty this one, or set disk.on_other_format to start_empty");
            reset_reason_ = found;
            return create_manifest(random_stamp());
        }
        token_ = manifest->token;
    }

    /// An empty store: what lies around belongs to no token any more.
    void create_manifest(std::uint64_t token) {
        std::vector<std::uint64_t> segments;
        if (const int error = list_segments(segments)) refuse_call("readdir", error);
        for (const std::uint64_t id : segments)
            if (const int error = unlink(segment_name(id)))
                refuse_call("unlink of a left-over segment", error);
        if (const int error = unlink(kills_name)) refuse_call("unlink KILLS", error);

        token_ = token;
        const ManifestBytes bytes = encode_manifest({.version = disk_format_version, .token = token_});
        const File file = open_file(new_manifest_name, O_RDWR | O_CREAT | O_TRUNC);
        if (!file) refuse_call("open MANIFEST.new", errno);
        if (const int error = write_fully(io_, file.get(), bytes, 0))
            refuse_call("write MANIFEST.new", error);
        if (io_.sync(file.get()) != 0) refuse_call("fdatasync MANIFEST.new", errno);
        if (io_.rename_at(directory_.get(), std::string(new_manifest_name).c_str(),
                          std::string(manifest_name).c_str()) != 0)
            refuse_call("rename MANIFEST.new", errno);
    }

    Io& io_;
    std::filesystem::path path_;
    File directory_;
    File lock_;
    std::uint64_t token_ = 0;
    bool has_intents_ = false;
    std::string reset_reason_;
    StoreDirectory* next_ = nullptr;  // of the open ones
};

inline void OpenDirectories::enter(StoreDirectory& directory) {
    const std::lock_guard lock(mutex_);
    directory.next_ = first_;
    first_ = &directory;
}

inline void OpenDirectories::leave(StoreDirectory& directory) {
    const std::lock_guard lock(mutex_);
    StoreDirectory** at = &first_;
    while (*at != &directory) at = &(*at)->next_;
    *at = directory.next_;
}

inline void OpenDirectories::in_child() noexcept {
    for (StoreDirectory* each = first_; each != nullptr; each = each->next_) {
        each->lock_.close();
        each->directory_.close();
    }
}

}  // namespace smartcache::inline v0::detail
