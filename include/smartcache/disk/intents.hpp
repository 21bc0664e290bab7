#pragma once

// INTENTS: what a tier that this process shares with others has not been told yet (R11).
//
// An erase that Redis did not acknowledge is repeated when it is back. If the process ends before that, the next one that
// opens the directory has to repeat it, or the erased value is there again, for everybody. So each goes into this file before
// the call returns, and the file is emptied when all have been told: there is no need to take them out one by one, for an
// erase that is repeated once too often costs a miss.
//
// The file has one size, 64 KiB of real blocks from the beginning, so that it costs nothing of what `max_size` leaves to records, and a full
// file system or quota is no reason to lose an erase. What does not fit is noted as that, for good: who takes it then has to
// take everything for changed.
//
//     INTENTS = *intent (overflow or zeros) zeros
//     intent  = length[8] check[8] text padding         length: of the text, at least 1; padding: up to a multiple of 16
//     overflow = ff ff ff ff ff ff ff ff check[8]
//     check   = XXH3 of the text, seeded by the length  (little endian, as everything in the directory)
//
// A process that is killed: the text is written first, the head behind it. A head is 16 bytes at a multiple of 16, so it never
// lies in two pages, and a write within one page is not cut by a kill. Without its head a text does not count, and its call had not
// returned. The file is emptied from its beginning on, so what a kill leaves of that begins with zeros, too. After a power failure,
// with `Durability::power_loss`, everything that has returned was synced; an emptying may have come to the disk in part,
// and leaves intents that were told already.
//
// Damage: a head that is neither zeros nor right, a text that does not fit its check, a file that has been cut, or one that is
// there and cannot be opened makes all of it incomplete. That costs what is in the cache, never an erase. (But zeros are the end:
// a file that was cut to nothing, or whose beginning has become zeros, looks like one that was emptied.)
//
// A directory that is removed while it is in use takes its intents with it, until one is added after the store has begun again in
// a new one: then they go there, too. They are of the server that the process used: one that takes the directory to another
// server repeats them there.

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <smartcache/core/bytes.hpp>
#include <smartcache/core/fork.hpp>
#include <smartcache/core/hash.hpp>
#include <smartcache/disk/directory.hpp>
#include <smartcache/disk/format.hpp>
#include <smartcache/disk/io.hpp>
#include <smartcache/record/intents.hpp>

namespace smartcache::inline v0::detail {

/// Thread safety: any thread. In a child of fork(2) nothing is kept (R33).
class DiskIntents final : public Intents {
  public:
    static constexpr std::size_t file_size = std::size_t{64} << 10U;

    /// @param directory  must outlive it
    /// @param sync  whether what has been added must outlive a power failure
    DiskIntents(Io& io, const StoreDirectory& directory, bool sync)
        : io_(io),
          directory_(directory),
          sync_(sync),
          file_(directory.open_file(intents_name, O_RDWR | O_CREAT)) {}

    [[nodiscard]] Kept take() noexcept override {
        Kept kept;
        try {
            const std::lock_guard lock(mutex_);
            if (!file_) {
                kept.incomplete = directory_.has_intents();
                return kept;
            }
            std::vector<std::byte> bytes(file_size);
            std::size_t got = 0;
            if (read_fully(io_, file_.get(), bytes, 0, got) != 0) kept.incomplete = true;
            parse(bytes, kept);
            if (got < file_size && !kept.all.empty()) kept.incomplete = true;
            full_ = kept.incomplete;
            if (full_) {
                put_head(bytes.data(), overflow, {});
                used_ = head_size;
            }
            // What lies behind, of texts without a head, must not be taken for damage once it stands behind another one.
            std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(used_), bytes.end(), std::byte{0});
            if (write_fully(io_, file_.get(), bytes, 0) != 0 || !synced()) file_.close();
        } catch (...) {  // no memory
            kept.incomplete = true;
        }
        return kept;
    }

    bool add(std::string_view intent) noexcept override {
        if (process_.forked() || intent.empty()) return false;
        try {
            const std::lock_guard lock(mutex_);
            if (!file_) return false;
            const bool lasts = follow();
            if (full_) return lasts;
            std::array<std::byte, head_size> head{};
            const std::size_t size = head_size + round_up(intent.size(), head_size);
            full_ = intent.size() > file_size || used_ + size > file_size - head_size;
            if (!full_ && write_fully(io_, file_.get(), as_byte_view(intent), used_ + head_size) != 0)
                return false;
            put_head(head.data(), full_ ? overflow : intent.size(), full_ ? std::string_view() : intent);
            if (write_fully(io_, file_.get(), head, used_) != 0) {
                full_ = false;
                return false;
            }
            used_ += full_ ? head_size : size;
            return synced() && lasts;
        } catch (...) {  // a mutex that cannot be locked
            return false;
        }
    }

    void forget() noexcept override {
        if (process_.forked()) return;
        try {
            const std::lock_guard lock(mutex_);
            if (!file_ || used_ == 0) return;
            const std::vector<std::byte> zeros(used_);
            if (write_fully(io_, file_.get(), zeros, 0) != 0) return;
            used_ = 0;
            full_ = false;
        } catch (...) {  // no memory: they are forgotten later
        }
    }

  private:
    static constexpr std::size_t head_size = 16;
    static constexpr std::uint64_t overflow = std::numeric_limits<std::uint64_t>::max();

    static std::uint64_t check(std::uint64_t length, std::string_view text) noexcept {
        return stable_hash(as_byte_view(text), length);
    }
    static void put_head(std::byte* to, std::uint64_t length, std::string_view text) noexcept {
        store_le<std::uint64_t>(to, length);
        store_le<std::uint64_t>(to + 8, check(length, text));
    }

    /// Up to the first zeros.
    void parse(ByteView bytes, Kept& kept) {
        for (used_ = 0; used_ + head_size <= file_size;) {
            const auto length = load_le<std::uint64_t>(bytes.data() + used_);
            const auto expected = load_le<std::uint64_t>(bytes.data() + used_ + 8);
            if (length == 0 && expected == 0) return;
            const std::size_t room = file_size - used_ - head_size;
            const std::string_view text =
                length <= room
                    ? as_text_view(bytes.subspan(used_ + head_size, static_cast<std::size_t>(length)))
                    : std::string_view();
            if (length == 0 || length > room || check(length, text) != expected) {
                kept.incomplete = true;
                return;
            }
            kept.all.emplace_back(text);
            used_ += head_size + round_up(length, head_size);
        }
    }
    /// To the directory that has come in the place of one that was removed, with all that is kept.
    /// @return false: the file has no name, so nobody will find it
    [[nodiscard]] bool follow() {
        struct stat status {};
        if (io_.status(file_.get(), &status) != 0 || status.st_nlink != 0) return true;
        std::vector<std::byte> bytes(file_size);
        std::size_t got = 0;
        if (read_fully(io_, file_.get(), bytes, 0, got) != 0) return false;
        File next = directory_.open_file(intents_name, O_RDWR | O_CREAT);
        if (!next || write_fully(io_, next.get(), bytes, 0) != 0) return false;
        file_ = std::move(next);
        return true;
    }
    [[nodiscard]] bool synced() const { return !sync_ || io_.sync(file_.get()) == 0; }

    Io& io_;
    const StoreDirectory& directory_;
    const bool sync_;
    const ProcessMark process_{};
    std::mutex mutex_;
    File file_;
    std::size_t used_ = 0;
    bool full_ = false;
};

}  // namespace smartcache::inline v0::detail
