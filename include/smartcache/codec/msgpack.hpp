#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <nlohmann/json.hpp>

#include <smartcache/codec/codec.hpp>
#include <smartcache/codec/detail/json_tree.hpp>

namespace smartcache::inline v0 {

/// MessagePack, for the same types as `JsonCodec`: smaller and quicker to read than JSON text, and it can say
/// NaN.
class MsgPackCodec {
  public:
    static constexpr CodecId id = CodecId::msgpack;
    using default_type = nlohmann::json;

    template <detail::JsonConvertible T>
    void encode(const T& value, ByteSink& out) const {
        const std::vector<std::uint8_t> bytes = nlohmann::json::to_msgpack(detail::to_tree(value));
        out.append(std::as_bytes(std::span(bytes)));
    }

    template <detail::JsonConvertible T>
    [[nodiscard]] std::optional<T> decode(ByteView bytes) const {
        const auto tree = detail::parse_tree(bytes, nlohmann::json::input_format_t::msgpack);
        if (!tree) return std::nullopt;
        return detail::from_tree<T>(*tree);
    }
};

static_assert(CodecFor<MsgPackCodec, nlohmann::json> && !CodecFor<MsgPackCodec, std::string_view>);

}  // namespace smartcache::inline v0
