#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <string_view>
#include <tuple>

#include <smartcache/core/bytes.hpp>
#include <smartcache/core/sha256.hpp>

namespace smartcache::inline v0::detail {

/// Tells records that were written by a holder of the secret from those that anybody else wrote.
///
/// A signed record is the record as ever, so that scripts find its stamp where it always is, and behind it
///
///     HMAC-SHA-256(secret, "smartcache record" | size of the key, 8 bytes, little-endian | key | record)
///
/// (persistent: never change). Key and size are in there although the record holds them too, so that this
/// does not rest on how a record is parsed, and no bytes can pass for those of another key.
///
/// What it does not do: an older record of the same key, signed as it was, is put back unnoticed.
///
/// Thread safety: any thread.
class IntegrityKey {
  public:
    using Mac = Sha256::Digest;
    static constexpr std::size_t mac_size = std::tuple_size_v<Mac>;

    explicit IntegrityKey(std::string_view secret) noexcept {
        Sha256::Digest digest{};
        if (secret.size() > Sha256::block_size) {
            Sha256 hash;
            hash.update(secret);
            digest = hash.finish();
            secret = as_text_view(digest);
        }
        std::array<char, Sha256::block_size> padded{};
        if (!secret.empty()) std::memcpy(padded.data(), secret.data(), secret.size());
        for (char& byte : padded) byte = static_cast<char>(byte ^ 0x36);
        inner_.update({padded.data(), padded.size()});
        for (char& byte : padded) byte = static_cast<char>(byte ^ 0x36 ^ 0x5c);
        outer_.update({padded.data(), padded.size()});
    }

    /// HMAC (RFC 2104) of the pieces, one behind the other.
    [[nodiscard]] Mac mac(std::initializer_list<std::string_view> pieces) const noexcept {
        Sha256 inner = inner_;
        for (const std::string_view piece : pieces) inner.update(piece);
        const Mac digest = inner.finish();
        Sha256 outer = outer_;
        outer.update(as_text_view(digest));
        return outer.finish();
    }

    /// Appends what makes `record` a signed one of `key`.
    void sign(std::string_view key, ByteSink& record) const {
        record.append(ByteView(of_record(key, record.view())));
    }

    /// @return the record in `bytes`, or nullopt when it was not signed for `key` with this secret. How long
    /// that takes tells nothing of where a wrong one differs.
    [[nodiscard]] std::optional<ByteView> verified(std::string_view key, ByteView bytes) const noexcept {
        if (bytes.size() < mac_size) return std::nullopt;
        const ByteView record = bytes.first(bytes.size() - mac_size);
        const ByteView given = bytes.last(mac_size);
        const Mac right = of_record(key, record);
        std::byte difference{};
        for (std::size_t i = 0; i < mac_size; ++i) difference |= right[i] ^ given[i];
        if (difference != std::byte{}) return std::nullopt;
        return record;
    }

  private:
    [[nodiscard]] Mac of_record(std::string_view key, ByteView record) const noexcept {
        std::array<char, 8> size{};
        for (std::size_t i = 0; i < size.size(); ++i)
            size[i] = static_cast<char>(std::uint64_t{key.size()} >> (8 * i));
        return mac({"smartcache record", {size.data(), size.size()}, key, as_text_view(record)});
    }

    // Hashes that have seen the secret already.
    Sha256 inner_;
    Sha256 outer_;
};

}  // namespace smartcache::inline v0::detail
