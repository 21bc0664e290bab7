#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>

#include <smartcache/core/clock.hpp>
#include <smartcache/core/write_mode.hpp>

namespace smartcache::inline v0 {

/// What survives what.
enum class Durability {
    none,  ///< nothing is promised after a crash; the store still opens and serves only intact records
    process_crash,  ///< what has left the write queue survives kill -9
    power_loss,     ///< fdatasync with each flush of the queue
};

/// What goes to disk.
enum class DiskFill {
    on_set,  ///< every value that is set or filled
    /// Only what L1 evicts, or refuses because it is too heavy, with what remains of its lifetime (demotion). What L1
    /// holds when the cache ends is not written.
    on_evict,
};

/// How records are read.
enum class DiskIo {
    mmap,   ///< from the page cache, by mapping; fastest
    pread,  ///< by system call; survives somebody else truncating the files
};

/// What happens to a write that finds the queue full.
enum class DiskOverflow {
    drop,   ///< it is rejected, and counted
    block,  ///< it waits for room, for at most `block_timeout`; then it is rejected
};

/// Which new keys are stored.
enum class DiskAdmission {
    always,
    /// Only those that were wanted before: looked up in vain a second time, or offered a second time, within the last
    /// `max_size` / 1 KiB other keys or so. Keeps what is asked for once off the disk. What is stored already is always
    /// overwritten.
    second_sight,
};

/// What opening does with a store that another version of this library has written in another format.
enum class DiskMismatch {
    refuse,       ///< ConfigError; nothing is changed
    start_empty,  ///< its files are removed
};

/// L3, the tier on disk.
struct DiskOptions {
    bool enabled = false;
    /// A directory of its own, created with mode 0700. Refused when it belongs to somebody else or another cache has it, and,
    /// before anything is changed in it, when it holds other files. One that others may write to is closed to them.
    std::filesystem::path path = "/tmp/smartcache";
    /// Lifetime in L3 of entries stored without one.
    Duration ttl = std::chrono::hours(24 * 7);
    /// Hard bound on the bytes on disk, overhead included. At least 1 MiB.
    std::uint64_t max_size = std::uint64_t{1} << 30U;
    Durability durability = Durability::process_crash;
    /// `behind`: writes go through a bounded queue; `through`: they are in the file when the call returns.
    WriteMode write = WriteMode::behind;
    /// Bytes that may wait to be written, with `WriteMode::behind`; never more than a quarter of `max_size`. At least
    /// 64 KiB.
    std::uint64_t queue_size = std::uint64_t{16} << 20U;
    DiskOverflow on_full = DiskOverflow::drop;
    Duration block_timeout = std::chrono::milliseconds(100);
    /// Most bytes per second that are stored; what is above is rejected, and counted. A second's worth may come at
    /// once. 0: no bound.
    std::uint64_t max_write_rate = 0;
    DiskFill fill = DiskFill::on_set;
    DiskAdmission admission = DiskAdmission::always;
    DiskIo io = DiskIo::mmap;
    DiskMismatch on_other_format = DiskMismatch::refuse;
};

}  // namespace smartcache::inline v0
