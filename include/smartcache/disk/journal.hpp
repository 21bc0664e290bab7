#pragma once

// KILLS: makes an erase or an overwrite durable without writing the log.
//
// Records, and the tombstones that kill older records, reach their segment through the write queue. Between
// the return of `remove` or of an overwriting `write` and the moment when the queue has got that far, a crash
// would bring the old record back. So each kill also goes, before the call returns, into a small ring of
// 24-byte entries in a file that is mapped shared: a copy of 24 bytes, no system call, and in the kernel's
// hands when the process is killed (R21). With `DiskIo::pread`, and on a file system that never writes over what
// it has (btrfs, ZFS), where a store through a mapping would be a SIGBUS when that is full, nothing is mapped and
// the entry is written by a system call.
//
// An entry is free again when the log has been written up to the kill's own frame. Entries that are left over
// are harmless for ever: they kill only records with a lower sequence under their hash, and those are dead
// anyway. A torn entry fails its check; its call had not returned.

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include <smartcache/disk/directory.hpp>
#include <smartcache/disk/format.hpp>
#include <smartcache/disk/io.hpp>

namespace smartcache::inline v0::detail {

/// Thread safety: one thread at a time.
class KillJournal {
  public:
    static constexpr std::uint64_t unknown = std::numeric_limits<std::uint64_t>::max();
    static constexpr std::size_t file_size = kill_slots * kill_entry_size;

    explicit KillJournal(Io& io) noexcept : io_(io) {}
    ~KillJournal() { close(); }
    KillJournal(const KillJournal&) = delete;
    KillJournal& operator=(const KillJournal&) = delete;

    /// Opens or creates the file and appends the kills that are in it to `found`.
    /// @param map  whether entries may be written through a mapping
    /// @return the error's number or 0
    [[nodiscard]] int open(const StoreDirectory& directory, bool map, std::vector<FrameHeader>& found) {
        close();
        token_ = directory.token();
        file_ = directory.open_file(kills_name, O_RDWR | O_CREAT);
        if (!file_) return errno;
        std::vector<std::byte> bytes(file_size);
        std::size_t got = 0;
        if (const int error = read_fully(io_, file_.get(), bytes, 0, got)) return error;
        for (std::size_t at = 0; at < file_size; at += kill_entry_size)
            read_entry(std::span(bytes).subspan(at, kill_entry_size), found);
        // Real blocks everywhere, also where the file had holes, so that a store through the mapping cannot run out of
        // space (that would be a SIGBUS).
        if (const int error = write_fully(io_, file_.get(), bytes, 0)) return error;
        if (map && !io_.copies_on_write(file_.get())) {
            void* const address = io_.map(file_.get(), file_size, true);
            if (address != MAP_FAILED) mapping_ = static_cast<std::byte*>(address);
        }
        return 0;
    }

    /// No free entry: the log must be written first.
    [[nodiscard]] bool full() const noexcept { return used_ == kill_slots; }
    /// Time to write the log, before anybody has to wait for that.
    [[nodiscard]] bool half_full() const noexcept { return used_ >= kill_slots / 2; }

    /// Remembers a kill until `position` of the log has been written. There must be a free entry.
    /// @param durable  false: only counted, for stores that promise nothing after a crash
    /// @param position  `unknown` until `moved_to`
    /// @return whether a killed process cannot lose it any more
    bool add(const FrameHeader& kill, std::uint64_t position, bool durable) noexcept {
        const std::size_t slot = (first_ + used_) % kill_slots;
        positions_[slot] = position;
        ++used_;
        if (!durable) return true;
        if (!file_) return false;
        const KillBytes bytes = encode_kill(kill, token_);
        if (mapping_ != nullptr) {
            std::memcpy(mapping_ + slot * kill_entry_size, bytes.data(), bytes.size());
            return true;
        }
        return write_fully(io_, file_.get(), bytes, slot * kill_entry_size) == 0;
    }

    /// The log has been written up to `position`: entries of kills before it are free.
    void written(std::uint64_t position) noexcept {
        while (used_ != 0 && positions_[first_] <= position) {
            first_ = (first_ + 1) % kill_slots;
            --used_;
        }
    }

    /// All kills now stand in the log before `position` only: their first copies were lost with a failed
    /// write.
    void moved_to(std::uint64_t position) noexcept {
        for (std::size_t i = 0; i < used_; ++i) positions_[(first_ + i) % kill_slots] = position;
    }

    /// There is nothing left that could be killed.
    void forget() noexcept { used_ = 0; }

  private:
    void read_entry(std::span<std::byte> bytes, std::vector<FrameHeader>& found) const {
        if (std::all_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte == std::byte{0}; }))
            return;  // never used
        auto kill = parse_kill(bytes, token_);
        if (!kill && repair_one_bit(bytes, [&] { return parse_kill(bytes, token_).has_value(); }))
            kill = parse_kill(bytes, token_);
        if (kill) found.push_back(*kill);
    }

    void close() noexcept {
        if (mapping_ != nullptr) (void)io_.unmap(mapping_, file_size);
        mapping_ = nullptr;
        file_.close();
        first_ = used_ = 0;
    }

    Io& io_;
    std::uint64_t token_ = 0;
    File file_;
    std::byte* mapping_ = nullptr;
    std::array<std::uint64_t, kill_slots> positions_{};
    std::size_t first_ = 0;
    std::size_t used_ = 0;
};

}  // namespace smartcache::inline v0::detail
