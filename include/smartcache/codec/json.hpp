#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <smartcache/codec/codec.hpp>
#include <smartcache/codec/detail/json_document.hpp>
#include <smartcache/codec/detail/json_value.hpp>
#include <smartcache/core/bytes.hpp>
#include <smartcache/core/owned_bytes.hpp>
#include <smartcache/fwd.hpp>

namespace smartcache::inline v0 {

/// Values as JSON text: whatever nlohmann_json converts, and `std::optional` of it (nullopt is null).
///
///     struct User { std::string name; int age; };
///     NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(User, name, age)
///     sc::SmartCache<sc::JsonCodec> cache;
///
/// Reading is strict for numbers, strings and the standard's containers of them, at any depth: 300 is no
/// `uint8_t`, 2.7 and 3.0 are no `int`, true is no number, an integer is a `double` only where that is exact,
/// `[1, 2, 3]` is no pair, a repeated element no set. Other types are read by their own `from_json`, which
/// decides for itself what it accepts: nlohmann's `get_to` casts numbers. What `from_json` throws means "not
/// mine".
///
/// Throws while encoding, so that the facade keeps the value in L1 only and counts an encode error:
/// `nlohmann::json::type_error` for text that is not UTF-8; `std::invalid_argument` for NaN, infinity, binary
/// values and long doubles that are no doubles; `std::length_error` for nesting beyond 256; what `to_json`
/// throws. Decoding throws only `std::bad_alloc`. Thread safety: any thread; stateless.
class JsonCodec {
  public:
    static constexpr auto id = static_cast<std::uint8_t>(CodecId::json);
    using default_type = nlohmann::json;

    template <detail::JsonConvertible T>
    void encode(const T& value, ByteSink& out) const {
        const nlohmann::json document = detail::write_json<false, T>(value);
        detail::check_document(document, {.non_finite = false, .binary = false});
        out.append(std::string_view(document.dump()));
    }

    template <detail::JsonConvertible T>
    [[nodiscard]] std::optional<T> decode(ByteView bytes) const {
        const std::optional<nlohmann::json> document =
            detail::parse_document(bytes, nlohmann::json::input_format_t::json);
        if (!document) return std::nullopt;
        return detail::read_json<T>(*document);
    }
};

static_assert(CodecFor<JsonCodec, nlohmann::json>);

template <>
struct OwnedBytes<nlohmann::json> {
    [[nodiscard]] static std::size_t of(const nlohmann::json& value) {
        if (value.is_string()) {
            const auto& text = value.get_ref<const std::string&>();
            return sizeof(text) + owned_bytes(text);
        }
        if (value.is_array()) {
            const auto& array = value.get_ref<const nlohmann::json::array_t&>();
            return sizeof(array) + owned_bytes(array);
        }
        if (value.is_object()) {
            const auto& object = value.get_ref<const nlohmann::json::object_t&>();
            return sizeof(object) + owned_bytes(object);
        }
        if (value.is_binary()) {
            const std::vector<std::uint8_t>& binary = value.get_binary();
            return sizeof(nlohmann::json::binary_t) + owned_bytes(binary);
        }
        return 0;
    }
};

}  // namespace smartcache::inline v0
