#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include <smartcache/codec/codec.hpp>
#include <smartcache/codec/detail/binary_shape.hpp>
#include <smartcache/codec/detail/binary_value.hpp>
#include <smartcache/core/bytes.hpp>
#include <smartcache/fwd.hpp>
#include <smartcache/record/varint.hpp>

namespace smartcache::inline v0 {

/// Values as compact bytes, the same on every machine; needs no library.
///
///     struct Point { double x; double y; std::array<char, 8> label; };
///     sc::SmartCache<sc::BinaryCodec> cache;
///     cache.set("p", Point{1, 2, {}});
///
/// Takes bool, integers, characters, `float` and `double`, enumerations, strings; optional, pair, tuple,
/// variant, the standard's arrays and containers of those; durations and `system_clock` time points; and
/// plain structs (aggregates of at most 24 members, C arrays included, without base classes, bit-fields,
/// references or const members), which may contain themselves through a container. Members are written one by
/// one: padding and byte order of the machine do not matter. Classes with private members are not taken,
/// trivially copyable or not: their bytes could hold pointers. Neither are pointers, views and `long double`.
///
/// Every value begins with a hash of its type's structure; bytes of another structure are not decoded. The
/// structure knows nothing of names: structs with the same members in the same order read as one another, and
/// so do containers of one kind (vector and list, map and unordered_map). When members change their meaning
/// but not their type, raise `Config::schema_version`.
///
/// Throws while encoding: `std::invalid_argument` for a valueless variant, `std::length_error` for structs
/// nested beyond 256. Decoding throws only `std::bad_alloc`. Thread safety: any thread; stateless.
class BinaryCodec {
  public:
    static constexpr auto id = static_cast<std::uint8_t>(CodecId::binary);
    using default_type = std::vector<std::byte>;

    template <detail::BinaryEncodable T>
    void encode(const T& value, ByteSink& out) const {
        detail::put_fixed(out, detail::shape_hash<T>);
        detail::BinaryWriter(out).write(value);
    }

    template <detail::BinaryEncodable T>
    requires std::default_initializable<T>
    [[nodiscard]] std::optional<T> decode(ByteView bytes) const {
        detail::ByteReader head(bytes);
        if (head.fixed<std::uint64_t>() != detail::shape_hash<T> || !head.ok()) return std::nullopt;
        std::optional<T> value(std::in_place);
        detail::BinaryReader reader(bytes.last(head.remaining()));
        if (!reader.read(*value) || !reader.at_end()) return std::nullopt;
        return value;
    }
};

static_assert(CodecFor<BinaryCodec, std::vector<std::byte>>);

}  // namespace smartcache::inline v0
