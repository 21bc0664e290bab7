#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <smartcache/codec/codec.hpp>
#include <smartcache/core/bytes.hpp>
#include <smartcache/fwd.hpp>

namespace smartcache::inline v0 {

namespace detail {

template <class T>
inline constexpr bool is_byte =
    std::same_as<T, std::byte> || std::same_as<T, unsigned char> || std::same_as<T, char>;

/// Owning text and bytes: `std::string`, and vectors and arrays of `std::byte`, `unsigned char` or `char`.
template <class T>
inline constexpr bool is_owned_bytes = false;
template <class A>
inline constexpr bool is_owned_bytes<std::basic_string<char, std::char_traits<char>, A>> = true;
template <class B, class A>
inline constexpr bool is_owned_bytes<std::vector<B, A>> = is_byte<B>;
template <class B, std::size_t N>
inline constexpr bool is_owned_bytes<std::array<B, N>> = is_byte<B>;

template <class T>
concept OwnedBytes = is_owned_bytes<T>;

template <class T>
inline constexpr bool is_std_array = false;
template <class T, std::size_t N>
inline constexpr bool is_std_array<std::array<T, N>> = true;

}  // namespace detail

/// Text and bytes as they are, and nothing else: for caches of finished pages, files and messages. Needs no
/// library.
///
/// An array is read only from exactly as many bytes. Decoding throws only `std::bad_alloc`. Thread safety:
/// any thread.
class BytesCodec {
  public:
    static constexpr auto id = static_cast<std::uint8_t>(CodecId::bytes);
    using default_type = std::string;

    template <detail::OwnedBytes T>
    void encode(const T& value, ByteSink& out) const {
        out.append(std::as_bytes(std::span(value.data(), value.size())));
    }

    template <detail::OwnedBytes T>
    [[nodiscard]] std::optional<T> decode(ByteView bytes) const {
        const auto* const first = reinterpret_cast<const typename T::value_type*>(bytes.data());
        if constexpr (detail::is_std_array<T>) {
            T value{};
            if (bytes.size() != value.size()) return std::nullopt;
            if (!bytes.empty()) std::memcpy(value.data(), first, bytes.size());
            return value;
        } else {
            return std::optional<T>(std::in_place, first, first + bytes.size());
        }
    }
};

static_assert(CodecFor<BytesCodec, std::string>);

}  // namespace smartcache::inline v0
