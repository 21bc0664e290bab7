#pragma once

#include <stdexcept>
#include <string>

#include <nlohmann/json.hpp>

#include <smartcache/codec/codec.hpp>
#include <smartcache/codec/detail/json_tree.hpp>

namespace smartcache::inline v0 {

/// JSON text, for everything that nlohmann_json converts (user types through `to_json` / `from_json`), and
/// `std::optional` of it. The default codec: readable in Redis, tolerant of added fields.
///
/// `decode` gives nullopt for what does not fit the type without changing value or kind. `encode` throws for
/// what JSON cannot say: text that is not UTF-8, NaN and infinities.
class JsonCodec {
  public:
    static constexpr CodecId id = CodecId::json;
    using default_type = nlohmann::json;

    template <detail::JsonConvertible T>
    void encode(const T& value, ByteSink& out) const {
        const nlohmann::json tree = detail::to_tree(value);
        if (detail::has_non_finite(tree))
            throw std::invalid_argument("smartcache: JSON has no NaN and no infinity");
        out.append(tree.dump());
    }

    template <detail::JsonConvertible T>
    [[nodiscard]] std::optional<T> decode(ByteView bytes) const {
        const auto tree = detail::parse_tree(bytes, nlohmann::json::input_format_t::json);
        if (!tree) return std::nullopt;
        return detail::from_tree<T>(*tree);
    }
};

static_assert(CodecFor<JsonCodec, nlohmann::json> && CodecFor<JsonCodec, std::optional<int>>);
static_assert(!CodecFor<JsonCodec, std::string_view> && !CodecFor<JsonCodec, const char*>);

}  // namespace smartcache::inline v0
