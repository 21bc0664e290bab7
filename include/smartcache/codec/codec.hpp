#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>

#include <smartcache/core/bytes.hpp>

namespace smartcache::inline v0 {

/// Ids of the shipped codecs, as they stand in records. Persistent: never renumber. 0 means text or bytes as
/// they are; 128 to 255 are free for users' codecs.
enum class CodecId : std::uint8_t { none = 0, json = 1, msgpack = 2, cbor = 3, binary = 4, bytes = 5 };

/// Turns values of type `T` into bytes and back, for the tiers below L1.
///
/// Model must: `decode<T>(encode(v))` equals v; `decode<T>` of any bytes never misbehaves and gives nullopt
/// for what is not its own or does not fit `T` without changing the value; be usable from any thread. Caller
/// guarantees nothing about the bytes. `id` names the format in records; `default_type` is what `get(key)`
/// without a type gives. Views are no values: the concept is false for them.
template <class C, class T>
concept CodecFor = std::same_as<T, std::remove_cvref_t<T>> &&
    requires(const C& codec, const T& value, ByteView bytes, ByteSink& out) {
    { codec.encode(value, out) } -> std::same_as<void>;
    { codec.template decode<T>(bytes) } -> std::same_as<std::optional<T>>;
    static_cast<std::uint8_t>(C::id);
    typename C::default_type;
};

}  // namespace smartcache::inline v0
