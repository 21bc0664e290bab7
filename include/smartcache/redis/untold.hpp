#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <smartcache/core/bytes.hpp>
#include <smartcache/core/fork.hpp>
#include <smartcache/record/intents.hpp>
#include <smartcache/record/key.hpp>
#include <smartcache/record/varint.hpp>
#include <smartcache/redis/identity.hpp>

namespace smartcache::inline v0::detail {

/// What is unacknowledged, as it is kept for the process that comes after this one (R11).
///
///     intent = 'k' length-of-run-id run-id [client-id(8)] key          the id: where the run id is not empty
///            | 'n' namespace
///
/// With the run and the client id of a connection over which the key's change was sent and not answered: it may be applied even
/// after that process has ended, and before its connection is closed (R10).
struct UntoldIntent {
    bool is_namespace = false;
    std::string_view name;
    ConnectionIdentity zombie{};

    [[nodiscard]] std::string text() const {
        ByteSink out;
        out.append(static_cast<std::byte>(is_namespace ? 'n' : 'k'));
        if (!is_namespace) {
            put_varint(out, zombie.run_id.size());
            out.append(as_byte_view(zombie.run_id));
            if (!zombie.run_id.empty()) put_fixed(out, zombie.client_id);
        }
        out.append(as_byte_view(name));
        return std::string(as_text_view(out.view()));
    }
    /// @return nullopt: not ours
    [[nodiscard]] static std::optional<UntoldIntent> parse(std::string_view text) {
        ByteReader reader(as_byte_view(text));
        UntoldIntent intent;
        const auto kind = reader.fixed<std::uint8_t>();
        if (kind != 'n' && kind != 'k') return std::nullopt;
        intent.is_namespace = kind == 'n';
        if (!intent.is_namespace) {
            intent.zombie.run_id = reader.text(reader.varint());
            if (!intent.zombie.run_id.empty()) intent.zombie.client_id = reader.fixed<std::uint64_t>();
        }
        intent.name = reader.text(reader.remaining());
        return reader.ok() ? std::optional(std::move(intent)) : std::nullopt;
    }
};

/// Keeps them, if there is a place for that.
///
/// At any time what is kept is at least what is unacknowledged: it is added after it has become that, and all of it is forgotten
/// when nothing is, under the same lock. (What was acknowledged in between stays until the next time.)
///
/// In a child of fork(2) nothing is kept, nor does it wait for a lock that a thread of its parent may have held (R33).
///
/// Thread safety: any thread, once `begin` has returned.
class UntoldKeeper {
  public:
    /// @param failed  is called when something cannot be kept; must not throw
    void begin(Intents& intents, std::function<void()> failed) {
        failed_ = std::move(failed);
        intents_ = &intents;
    }

    /// @return whether it is kept; false where there is no place for it, too
    bool add(const UntoldIntent& intent) noexcept {
        if (intents_ == nullptr) return false;
        if (process_.forked()) {
            failed_();
            return false;
        }
        bool added = false;
        try {
            const std::lock_guard lock(mutex_);
            kept_ = true;
            const std::string_view space = intent.is_namespace ? intent.name : namespace_of(intent.name);
            added = intents_->add(intent.text(), UntoldIntent{true, space, {}}.text());
        } catch (...) {  // no memory
        }
        if (!added) failed_();
        return added;
    }
    /// @param settled  whether nothing is unacknowledged
    template <class Settled>
    void forget_if(Settled settled) noexcept {
        if (intents_ == nullptr || process_.forked()) return;
        try {
            const std::lock_guard lock(mutex_);
            if (!kept_ || !settled()) return;
            intents_->forget();
            kept_ = false;
        } catch (...) {  // a mutex that cannot be locked
        }
    }

  private:
    const ProcessMark process_{};
    Intents* intents_ = nullptr;
    std::function<void()> failed_;
    // Held while a note is written. No `Mutex`: a child does not come here. Nor may one be taken under it: others come here with
    // one of that kind (see fork.hpp).
    std::mutex mutex_;
    bool kept_ = true;  // from an earlier process, for all that is known
};

}  // namespace smartcache::inline v0::detail
