#pragma once

// INTENTS: what a tier that this process shares with others has not been told yet (R11).
//
// An erase that Redis did not acknowledge is repeated when it is back. If the process ends before that, the next one that
// opens the directory has to repeat it, or the erased value is there again, for everybody. So each goes into this file before
// the call returns, and the file is emptied when all have been told: there is no need to take them out one by one, for an
// erase that is repeated once too often costs a miss.
//
// The file has one size, 64 KiB of real blocks from the beginning, so that it costs nothing of what `max_size` leaves to records, and a full
// file system or quota is no reason to lose an erase. Where an intent does not fit what it is about is noted in its stead, its
// namespace, for which some of the file is left free. Where that does not fit either, an overflow is noted: who takes it then has
// to take everything for changed.
//
//     INTENTS = (nothing | 1*(intent | overflow)) zeros
//     intent  = length[8] check[8] text padding         length: of the text, at least 1; padding: up to a multiple of 16
//     overflow = ff ff ff ff ff ff ff ff check[8]
//     nothing = fe ff ff ff ff ff ff ff check[8]        whatever lies behind it
//     check   = XXH3 of the text, seeded by the length  (little endian, as everything in the directory)
//
// A process that is killed: the text is written first, the head behind it. A head is 16 bytes at a multiple of 16, so it never
// lies in two pages, and a write within one page is not cut by a kill. Without its head a text does not count, and its call had not
// returned. The file is emptied by its first head; what lies behind that becomes zeros afterwards. After a power failure,
// with `Durability::power_loss`, everything that has returned was synced; an emptying may have come to the disk in part,
// and leaves intents that were told already.
//
// Damage: a head that is neither zeros nor right, zeros where the file begins or with right heads behind them, a text that
// does not fit its check, a file that has been cut, or one that is there and cannot be opened makes all of it incomplete; an
// overflow is noted in its place. That costs what is in the cache, never an erase. (But a file that was cut to nothing looks like
// a new one, and one whose last intents have become zeros as if they had never been there.)
//
// A directory that is removed while it is in use takes its intents with it, until one is added after the store has begun again in
// a new one: then they go there, too. They are of the server that the process used: one that takes the directory to another
// server repeats them there.

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <mutex>
#include <set>
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
            if (got != 0) parse(bytes, kept);
            if (got < file_size && used_ != 0) kept.incomplete = true;
            noted_.insert(kept.all.begin(), kept.all.end());
            if (kept.incomplete && !overflowed_) {
                used_ = std::min(used_, file_size - head_size);
                put_head(bytes.data() + used_, overflow, {});
                used_ += head_size;
                overflowed_ = true;
            }
            if (used_ == 0) put_head(bytes.data(), nothing, {});
            // What lies behind, of texts without a head, must not be taken for damage once it stands behind another one.
            std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(std::max(used_, head_size)), bytes.end(),
                      std::byte{0});
            if (write_fully(io_, file_.get(), bytes, 0) != 0 || !synced()) file_.close();
        } catch (...) {  // no memory
            kept.incomplete = true;
        }
        return kept;
    }

    bool add(std::string_view intent, std::string_view instead) noexcept override {
        if (process_.forked() || intent.empty()) return false;
        try {
            const std::lock_guard lock(mutex_);
            if (!file_) return false;
            const bool lasts = follow();
            if (noted_.contains(instead)) return lasts;
            const bool fits = has_room_for(intent, left_free);
            std::string_view text = fits ? intent : instead;
            if (!fits && !has_room_for(instead, 0)) text = {};
            if (text.empty() && overflowed_) return lasts;
            if (write_fully(io_, file_.get(), as_byte_view(text), used_ + head_size) != 0) return false;
            std::array<std::byte, head_size> head{};
            put_head(head.data(), text.empty() ? overflow : text.size(), text);
            if (write_fully(io_, file_.get(), head, used_) != 0) return false;
            used_ += head_size + round_up(text.size(), head_size);
            if (text.empty())
                overflowed_ = true;
            else if (!fits)
                noted_.emplace(text);
            return synced() && lasts;
        } catch (...) {  // a mutex that cannot be locked, or no memory
            return false;
        }
    }

    void forget() noexcept override {
        if (process_.forked()) return;
        try {
            const std::lock_guard lock(mutex_);
            if (!file_ || used_ == 0) return;
            std::array<std::byte, head_size> head{};
            put_head(head.data(), nothing, {});
            const std::vector<std::byte> zeros(used_ - head_size);
            if (write_fully(io_, file_.get(), head, 0) != 0) return;
            used_ = 0;
            overflowed_ = false;
            noted_.clear();
            // Those that this leaves come to count again behind another one: they are told once more.
            (void)write_fully(io_, file_.get(), zeros, head_size);
        } catch (...) {  // no memory: they are forgotten later
        }
    }

  private:
    static constexpr std::size_t head_size = 16;
    static constexpr std::size_t left_free = std::size_t{4} << 10U;  // for what is noted instead
    static constexpr std::uint64_t overflow = std::numeric_limits<std::uint64_t>::max();
    static constexpr std::uint64_t nothing = overflow - 1;

    static std::uint64_t check(std::uint64_t length, std::string_view text) noexcept {
        return stable_hash(as_byte_view(text), length);
    }
    static void put_head(std::byte* to, std::uint64_t length, std::string_view text) noexcept {
        store_le<std::uint64_t>(to, length);
        store_le<std::uint64_t>(to + 8, check(length, text));
    }

    /// Whether there is, for an overflow behind it, too, and for so much more.
    [[nodiscard]] bool has_room_for(std::string_view text, std::size_t more) const noexcept {
        return text.size() < file_size &&
               used_ + head_size + round_up(text.size(), head_size) + head_size + more <= file_size;
    }

    struct Head {
        std::uint64_t length = 0;
        std::uint64_t check = 0;
        std::string_view text{};

        [[nodiscard]] bool zeros() const noexcept { return length == 0 && check == 0; }
        [[nodiscard]] bool right() const noexcept {
            const bool has_text = length != overflow && length != nothing;
            return has_text != text.empty() && DiskIntents::check(length, text) == check;
        }
    };
    /// @param at  where a head may be, and behind it what it is about
    static Head head_at(ByteView bytes, std::size_t at) noexcept {
        Head head{load_le<std::uint64_t>(bytes.data() + at), load_le<std::uint64_t>(bytes.data() + at + 8)};
        const ByteView behind = bytes.subspan(at + head_size);
        if (head.length <= behind.size())
            head.text = as_text_view(behind.first(static_cast<std::size_t>(head.length)));
        return head;
    }

    /// Up to the end, or to where it is damaged.
    void parse(ByteView bytes, Kept& kept) {
        while (used_ + head_size <= file_size) {
            const Head head = head_at(bytes, used_);
            if (head.right() && head.length == nothing && used_ == 0) return;
            if (head.zeros() && used_ != 0) {
                for (std::size_t at = used_; at + head_size <= file_size; at += head_size)
                    if (head_at(bytes, at).right()) kept.incomplete = true;
                return;
            }
            if (!head.right() || head.length == nothing) {
                kept.incomplete = true;
                return;
            }
            if (head.length == overflow)
                kept.incomplete = overflowed_ = true;
            else
                kept.all.emplace_back(head.text);
            used_ += head_size + round_up(head.text.size(), head_size);
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
        name_synced_ = false;
        return true;
    }
    /// To sync a file is not to sync its name.
    [[nodiscard]] bool synced() {
        if (!sync_) return true;
        name_synced_ = name_synced_ || io_.sync(directory_.descriptor()) == 0;
        return io_.sync(file_.get()) == 0 && name_synced_;
    }

    Io& io_;
    const StoreDirectory& directory_;
    const bool sync_;
    const ProcessMark process_{};
    std::mutex mutex_;
    File file_;
    bool name_synced_ = false;
    std::size_t used_ = 0;
    bool overflowed_ = false;  // which is noted
    // What counts instead of intents; and all that was there before.
    std::set<std::string, std::less<>> noted_;
};

}  // namespace smartcache::inline v0::detail
