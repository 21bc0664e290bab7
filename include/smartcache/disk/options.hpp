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

/// L3, the tier on disk.
struct DiskOptions {
    bool enabled = false;
    /// A directory of its own, created with mode 0700. Refused when it belongs to somebody else or another
    /// cache has it.
    std::filesystem::path path = "/tmp/smartcache";
    /// Lifetime in L3 of entries stored without one.
    Duration ttl = std::chrono::hours(24 * 7);
    /// Hard bound on the bytes on disk, overhead included. At least 1 MiB.
    std::uint64_t max_size = std::uint64_t{1} << 30U;
    Durability durability = Durability::process_crash;
    /// `behind`: writes go through a bounded queue; `through`: they are in the file when the call returns.
    WriteMode write = WriteMode::behind;
    DiskFill fill = DiskFill::on_set;
    DiskIo io = DiskIo::mmap;
};

}  // namespace smartcache::inline v0
