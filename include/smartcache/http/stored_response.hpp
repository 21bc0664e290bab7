#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <smartcache/http/headers.hpp>
#include <smartcache/http/semantics/reuse.hpp>
#include <smartcache/http/semantics/vary.hpp>

// How a response lies in the cache: one flat record, from whose head it is judged and from whose body it is
// served without a copy. Persistent: it is written to Redis and disk; never renumber, raise `version`
// instead.
//
//   record   := magic "SCH" version(1 byte) kind(1) reserved(3) token(8) ( response | index )
//   kind     := 1 response, 2 index, 3 part: a response with status 206, which those who do not know parts
//               must take for nothing, lest they send it to somebody who wants the whole
//   response := stamp(8) response_time(8) date(8) initial_age(8) lifetime(8) stale_while_revalidate(8)
//               stale_if_error(8) flags(2) status(2) head_size(4) body_size(8) head body
//   index    := count(2) { size(2) name{","name} }           one list of field names per entry, newest first
//               { stale_token(8) }                           of variants that a soft purge made stale, newest first
//
// Integers are little-endian; times are milliseconds since 1970. head: "Name: value" lines, each ended by
// CRLF.
//
// A resource without Vary has its response directly under the primary key. One that varies has an index
// there, and its responses under variant keys; index and variants carry the same random token, and a variant
// is valid only while the tokens are equal (R24). So replacing or erasing the primary record invalidates all
// variants at once. A soft purge gives the index a new token and keeps the old one as one of those whose variants are
// stale; what is stored or validated afterwards has the new one.
namespace smartcache::inline v0::http {

/// A stored response as it lies in the record: views of the bytes it was read from.
struct StoredResponse {
    std::uint64_t token = 0;  ///< 0: directly under the primary key
    std::uint64_t stamp = 0;  ///< random, new with every change: what an update compares (R24)
    StoredMeta meta;
    std::string_view head;
    std::string_view body;
};

/// What lies under the primary key of a resource that varies.
struct VariantIndex {
    std::uint64_t token = 0;
    std::vector<FieldNames> entries;  ///< newest first; the empty list is the response without Vary
    std::vector<std::uint64_t> stale_tokens{};

    /// Gives the index another token; what is valid now is stale from then on.
    void soften(std::uint64_t new_token);
    [[nodiscard]] bool stale(std::uint64_t variants_token) const noexcept {
        return std::find(stale_tokens.begin(), stale_tokens.end(), variants_token) != stale_tokens.end();
    }
};

/// The record of a response; the only copy of the body on its way into the cache.
[[nodiscard]] std::string write_record(const StoredResponse& response);
[[nodiscard]] std::string write_record(const VariantIndex& index);

/// Either, or neither where the bytes are no record of this version. Total: any bytes may come in.
struct ParsedStored {
    std::optional<StoredResponse> response;
    std::optional<VariantIndex> index;
};
[[nodiscard]] ParsedStored parse_stored(std::string_view bytes);

namespace detail {

inline constexpr std::string_view record_magic{"SCH\x01", 4};
enum class RecordKind : std::uint8_t { response = 1, index = 2, part = 3 };
[[nodiscard]] constexpr RecordKind kind_of(int status) noexcept {
    return status == 206 ? RecordKind::part : RecordKind::response;
}
inline constexpr std::size_t record_prefix = 16;
inline constexpr std::size_t response_prefix = record_prefix + 7 * 8 + 2 + 2 + 4 + 8;
inline constexpr std::size_t max_index_entries = 16;
inline constexpr std::size_t max_stale_tokens = 8;  // older ones are forgotten: their variants are misses
inline constexpr std::size_t max_selecting_fields = 32;

template <class Integer>
void put_integer(std::string& out, Integer value) {
    for (std::size_t i = 0; i < sizeof(Integer); ++i)
        out += static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i) & 0xFFU);
}

/// Reads integers from the left; past the end everything is 0 and `ok` is false.
class RecordReader {
  public:
    explicit RecordReader(std::string_view bytes) noexcept : rest_(bytes) {}

    template <class Integer>
    [[gnu::always_inline]] Integer integer() noexcept {
        const std::string_view bytes = take(sizeof(Integer));
        if (bytes.empty()) return 0;
        if constexpr (std::endian::native == std::endian::little) {
            Integer value = 0;
            std::memcpy(&value, bytes.data(), sizeof value);
            return value;
        } else {
            std::uint64_t value = 0;
            for (std::size_t i = bytes.size(); i-- > 0;)
                value = value << 8 | static_cast<unsigned char>(bytes[i]);
            return static_cast<Integer>(value);
        }
    }
    [[gnu::always_inline]] std::string_view take(std::uint64_t size) noexcept {
        if (size > rest_.size()) {
            ok_ = false;
            rest_ = {};
            return {"", 0};
        }
        const std::string_view bytes = rest_.substr(0, static_cast<std::size_t>(size));
        rest_.remove_prefix(bytes.size());
        return bytes;
    }
    [[nodiscard]] bool ok() const noexcept { return ok_; }
    [[nodiscard]] bool done() const noexcept { return ok_ && rest_.empty(); }

  private:
    std::string_view rest_;
    bool ok_ = true;
};

/// Lengths of time in a record are never negative and never so long that sums could overflow.
[[nodiscard]] inline bool plausible(Duration length) noexcept {
    return length >= Duration::zero() && length <= 2 * max_delta_seconds;
}
[[nodiscard]] inline bool plausible(WallTime time) noexcept {
    const Duration since = time.time_since_epoch();
    return since >= -200 * max_delta_seconds && since <= 200 * max_delta_seconds;
}

}  // namespace detail

inline void VariantIndex::soften(std::uint64_t new_token) {
    stale_tokens.insert(stale_tokens.begin(), token);
    if (stale_tokens.size() > detail::max_stale_tokens) stale_tokens.pop_back();
    token = new_token;
}

inline std::string write_record(const StoredResponse& response) {
    std::string out;
    out.reserve(detail::response_prefix + response.head.size() + response.body.size());
    out.append(detail::record_magic)
        .append(1, static_cast<char>(detail::kind_of(response.meta.status)))
        .append(3, '\0');
    detail::put_integer(out, response.token);
    detail::put_integer(out, response.stamp);
    detail::put_integer(out, response.meta.response_time.time_since_epoch().count());
    detail::put_integer(out, response.meta.date.time_since_epoch().count());
    for (const Duration length : {response.meta.initial_age, response.meta.lifetime,
                                  response.meta.stale_while_revalidate, response.meta.stale_if_error})
        detail::put_integer(out, length.count());
    detail::put_integer(out, response.meta.flags);
    detail::put_integer(out, response.meta.status);
    detail::put_integer(out, static_cast<std::uint32_t>(response.head.size()));
    detail::put_integer(out, static_cast<std::uint64_t>(response.body.size()));
    return out.append(response.head).append(response.body);
}

inline std::string write_record(const VariantIndex& index) {
    std::string out;
    out.append(detail::record_magic).append(1, static_cast<char>(detail::RecordKind::index)).append(3, '\0');
    detail::put_integer(out, index.token);
    detail::put_integer(out, static_cast<std::uint16_t>(index.entries.size()));
    for (const FieldNames& names : index.entries) {
        std::string list;
        for (const std::string& name : names) list.append(list.empty() ? "" : ",").append(name);
        detail::put_integer(out, static_cast<std::uint16_t>(list.size()));
        out += list;
    }
    for (const std::uint64_t token : index.stale_tokens) detail::put_integer(out, token);
    return out;
}

inline ParsedStored parse_stored(std::string_view bytes) {
    ParsedStored parsed;
    detail::RecordReader in(bytes);
    if (in.take(4) != detail::record_magic) return parsed;
    const auto kind = in.integer<std::uint8_t>();
    (void)in.take(3);
    const auto token = in.integer<std::uint64_t>();
    if (kind == static_cast<std::uint8_t>(detail::RecordKind::response) ||
        kind == static_cast<std::uint8_t>(detail::RecordKind::part)) {
        StoredResponse r;
        r.token = token;
        r.stamp = in.integer<std::uint64_t>();
        r.meta.response_time = WallTime(Duration(in.integer<std::int64_t>()));
        r.meta.date = WallTime(Duration(in.integer<std::int64_t>()));
        r.meta.initial_age = Duration(in.integer<std::int64_t>());
        r.meta.lifetime = Duration(in.integer<std::int64_t>());
        r.meta.stale_while_revalidate = Duration(in.integer<std::int64_t>());
        r.meta.stale_if_error = Duration(in.integer<std::int64_t>());
        r.meta.flags = in.integer<std::uint16_t>();
        r.meta.status = in.integer<std::uint16_t>();
        const auto head_size = in.integer<std::uint32_t>();
        const auto body_size = in.integer<std::uint64_t>();
        r.head = in.take(head_size);
        r.body = in.take(body_size);
        const bool sane = in.done() && r.meta.status >= 200 && r.meta.status <= 999 &&
                          kind == static_cast<std::uint8_t>(detail::kind_of(r.meta.status)) &&
                          detail::plausible(r.meta.response_time) && detail::plausible(r.meta.date) &&
                          detail::plausible(r.meta.initial_age) && detail::plausible(r.meta.lifetime) &&
                          detail::plausible(r.meta.stale_while_revalidate) &&
                          detail::plausible(r.meta.stale_if_error);
        if (sane) parsed.response = r;
    } else if (kind == static_cast<std::uint8_t>(detail::RecordKind::index)) {
        VariantIndex index{token, {}, {}};
        const auto count = in.integer<std::uint16_t>();
        for (std::size_t i = 0; i < count && in.ok(); ++i) {
            FieldNames names;
            detail::for_each_member(in.take(in.integer<std::uint16_t>()),
                                    [&](std::string_view name) { names.emplace_back(name); });
            index.entries.push_back(std::move(names));
        }
        while (in.ok() && !in.done() && index.stale_tokens.size() < detail::max_stale_tokens)
            index.stale_tokens.push_back(in.integer<std::uint64_t>());
        if (in.done() && count <= detail::max_index_entries && token != 0 && !index.stale(0))
            parsed.index = std::move(index);
    }
    return parsed;
}

}  // namespace smartcache::inline v0::http
