#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <nlohmann/json.hpp>

#include <smartcache/codec/codec.hpp>
#include <smartcache/codec/detail/json_document.hpp>
#include <smartcache/codec/detail/json_value.hpp>
#include <smartcache/core/bytes.hpp>
#include <smartcache/fwd.hpp>

namespace smartcache::inline v0 {

/// Values as MessagePack: the types and the strictness of `JsonCodec`, in fewer bytes.
///
/// Strings may hold any bytes, numbers may be NaN or infinite, and vectors of `std::byte` or `unsigned char`
/// are binary values. Throws while encoding: `std::invalid_argument` for binary subtypes above 127 and for
/// long doubles that are no doubles; `std::length_error` for nesting beyond 256; what `to_json` throws.
/// Decoding throws only `std::bad_alloc`. Thread safety: any thread; stateless.
class MsgPackCodec {
  public:
    static constexpr auto id = static_cast<std::uint8_t>(CodecId::msgpack);
    using default_type = nlohmann::json;

    template <detail::JsonConvertible T>
    void encode(const T& value, ByteSink& out) const {
        const nlohmann::json document = detail::write_json<true, T>(value);
        detail::check_document(document, {.max_binary_subtype = 127});
        const std::vector<std::uint8_t> bytes = nlohmann::json::to_msgpack(document);
        out.append(std::as_bytes(std::span(bytes)));
    }

    template <detail::JsonConvertible T>
    [[nodiscard]] std::optional<T> decode(ByteView bytes) const {
        const std::optional<nlohmann::json> document =
            detail::parse_document(bytes, nlohmann::json::input_format_t::msgpack);
        if (!document) return std::nullopt;
        return detail::read_json<T>(*document);
    }
};

static_assert(CodecFor<MsgPackCodec, nlohmann::json>);

}  // namespace smartcache::inline v0
