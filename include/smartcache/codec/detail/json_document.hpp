#pragma once

// nlohmann's documents to and from bytes, with bounds. The library's own parsers of binary formats, its
// printers and its comparison recurse; a bound on depth in both directions keeps hostile and self-made
// nesting off the stack. Parsing builds the document from parser events, so nothing is allocated for sizes
// that bytes merely claim.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <smartcache/core/bytes.hpp>

namespace smartcache::inline v0::detail {

/// How deeply values may nest, in every codec: deeper ones are not encoded, and deeper bytes not decoded.
inline constexpr std::size_t max_codec_depth = 256;

/// Builds a document from parser events; stops the parser at what is not to be read.
class JsonBuilder final : public nlohmann::json_sax<nlohmann::json> {
  public:
    using Json = nlohmann::json;

    bool null() override { return put(Json(nullptr)) != nullptr; }
    bool boolean(bool value) override { return put(Json(value)) != nullptr; }
    bool number_integer(number_integer_t value) override { return put(Json(value)) != nullptr; }
    bool number_unsigned(number_unsigned_t value) override { return put(Json(value)) != nullptr; }
    bool number_float(number_float_t value, const string_t& /*text*/) override {
        return put(Json(value)) != nullptr;
    }
    bool string(string_t& value) override { return put(Json(std::move(value))) != nullptr; }
    bool binary(binary_t& value) override { return put(Json(std::move(value))) != nullptr; }
    bool start_object(std::size_t /*claimed*/) override { return open(Json::object()); }
    bool key(string_t& value) override {
        key_ = std::move(value);
        return true;
    }
    bool end_object() override { return close(); }
    bool start_array(std::size_t /*claimed*/) override { return open(Json::array()); }
    bool end_array() override { return close(); }
    bool parse_error(std::size_t /*position*/, const std::string& /*token*/,
                     const nlohmann::detail::exception& /*error*/) override {
        return false;
    }

    [[nodiscard]] Json take() { return std::move(root_); }

  private:
    /// @return where the value now is; null for a second value under one name
    Json* put(Json&& value) {
        if (open_.empty()) {
            root_ = std::move(value);
            return &root_;
        }
        Json& parent = *open_.back();
        if (parent.is_array()) return &parent.emplace_back(std::move(value));
        const auto [at, added] = parent.emplace(std::move(key_), std::move(value));
        return added ? &*at : nullptr;
    }

    bool open(Json&& container) {
        if (open_.size() >= max_codec_depth) return false;
        Json* const at = put(std::move(container));
        if (at == nullptr) return false;
        open_.push_back(at);  // stays where it is: its parent takes nothing else until it is closed
        return true;
    }

    bool close() {
        open_.pop_back();
        return true;
    }

    Json root_;
    std::string key_;
    std::vector<Json*> open_;
};

/// The document that fills `bytes` exactly; nullopt for any other bytes.
[[nodiscard]] inline std::optional<nlohmann::json> parse_document(ByteView bytes,
                                                                  nlohmann::json::input_format_t format) {
    const auto* const first = reinterpret_cast<const std::uint8_t*>(bytes.data());
    JsonBuilder builder;
    try {
        if (nlohmann::json::sax_parse(first, first + bytes.size(), &builder, format)) return builder.take();
    } catch (const std::bad_alloc&) {
        throw;
    } catch (const std::exception&) {  // the library promises not to, but not for every event
    }
    return std::nullopt;
}

/// What a byte format cannot say.
struct FormatLimits {
    bool non_finite = true;       ///< has NaN and infinities
    bool binary = true;           ///< has binary values
    int max_binary_subtype = -1;  ///< of binary values; -1: none
};

/// Refuses documents that would come back as another value, or not at all.
/// Throws: `std::invalid_argument`, `std::length_error` when too deep.
inline void check_document(const nlohmann::json& json, const FormatLimits& limits, std::size_t depth = 0) {
    switch (json.type()) {
        case nlohmann::json::value_t::array:
        case nlohmann::json::value_t::object:
            if (depth >= max_codec_depth)
                throw std::length_error("smartcache: a value is nested too deeply to be encoded");
            for (const nlohmann::json& each : json) check_document(each, limits, depth + 1);
            return;
        case nlohmann::json::value_t::number_float:
            if (!limits.non_finite && !std::isfinite(*json.get_ptr<const nlohmann::json::number_float_t*>()))
                throw std::invalid_argument("smartcache: JSON has no NaN and no infinity");
            return;
        case nlohmann::json::value_t::binary: {
            if (!limits.binary) throw std::invalid_argument("smartcache: JSON has no binary values");
            const nlohmann::json::binary_t& bytes = json.get_binary();
            if (bytes.has_subtype() &&
                (limits.max_binary_subtype < 0 ||
                 bytes.subtype() > static_cast<std::uint64_t>(limits.max_binary_subtype)))
                throw std::invalid_argument("smartcache: this subtype of binary values cannot be encoded");
            return;
        }
        case nlohmann::json::value_t::discarded:
            throw std::invalid_argument("smartcache: a discarded JSON value cannot be encoded");
        default:
            return;
    }
}

}  // namespace smartcache::inline v0::detail
