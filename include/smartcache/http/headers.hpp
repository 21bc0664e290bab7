#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <smartcache/http/detail/text.hpp>

namespace smartcache::inline v0::http {

/// Header fields in the order they came, repeats kept; names compare without regard to case (RFC 9110
/// section 5.1).
///
///     Headers h{{"Content-Type", "text/plain"}, {"Vary", "Accept"}};
///     h.add("vary", "Origin");
///     h.combined("Vary");                       // "Accept, Origin"
///     for (auto [name, value] : h) ...
///
/// Kept as one block in the form that goes over the wire, so that copying, storing and sending it is one copy
/// of bytes. Nothing that would break the block can enter it (response splitting): CR, LF and NUL in values
/// become spaces (RFC 9110 section 5.5), fields whose name is not a token are refused. Views returned are
/// valid until the next change. Thread safety: as a container's. All lookups are O(bytes).
class Headers {
  public:
    struct Field {
        std::string_view name;
        std::string_view value;
    };

    class const_iterator {
      public:
        using iterator_category = std::input_iterator_tag;
        using value_type = Field;
        using difference_type = std::ptrdiff_t;
        using pointer = void;
        using reference = Field;

        const_iterator() = default;
        [[nodiscard]] Field operator*() const noexcept { return headers_->field(index_); }
        const_iterator& operator++() noexcept {
            ++index_;
            return *this;
        }
        const_iterator operator++(int) noexcept { return const_iterator(headers_, index_++); }
        friend bool operator==(const const_iterator&, const const_iterator&) = default;

      private:
        friend class Headers;
        const_iterator(const Headers* headers, std::size_t index) noexcept
            : headers_(headers), index_(index) {}
        const Headers* headers_ = nullptr;
        std::size_t index_ = 0;
    };

    Headers() = default;
    Headers(std::initializer_list<std::pair<std::string_view, std::string_view>> fields) {
        for (const auto& [name, value] : fields) add(name, value);
    }

    /// Reads "Name: value" lines, each ended by CRLF, as `wire()` writes them. Lines without a name are
    /// skipped.
    /// @param room  bytes that are going to be added, so that it is one allocation
    [[nodiscard]] static Headers from_wire(std::string_view block, std::size_t room = 0);
    /// Replaces these by the fields of a block that is exactly as `wire()` writes it, in the room that they have.
    /// @return false for any other block; then there are none
    bool assign_wire(std::string_view block);

    /// The fields as they go over the wire, each line ended by CRLF, without the empty line.
    [[nodiscard]] std::string_view wire() const noexcept { return text_; }

    /// The first value of `name`; nullopt when there is none.
    [[nodiscard]] std::optional<std::string_view> get(std::string_view name) const noexcept {
        const std::size_t index = find(name, 0);
        return index == fields_.size() ? std::nullopt : std::optional(field(index).value);
    }
    /// The first value of `name`, or `fallback`.
    [[nodiscard]] std::string_view value(std::string_view name,
                                         std::string_view fallback = {}) const noexcept {
        return get(name).value_or(fallback);
    }
    /// Every value of `name`, in order.
    [[nodiscard]] std::vector<std::string_view> get_all(std::string_view name) const {
        std::vector<std::string_view> values;
        for_each(name, [&](std::string_view value) { values.push_back(value); });
        return values;
    }
    /// All values of `name` as one list (RFC 9110 section 5.3): joined by ", ". Empty when there is none.
    [[nodiscard]] std::string combined(std::string_view name) const;

    [[nodiscard]] bool has(std::string_view name) const noexcept { return find(name, 0) != fields_.size(); }
    [[nodiscard]] std::size_t count(std::string_view name) const {
        std::size_t n = 0;
        for_each(name, [&](std::string_view) { ++n; });
        return n;
    }

    /// Calls `visit(value)` for each value of `name`, in order.
    template <class Visit>
    void for_each(std::string_view name, Visit&& visit) const {
        for (std::size_t i = find(name, 0); i < fields_.size(); i = find(name, i + 1)) visit(field(i).value);
    }
    /// Calls `visit(member)` for each non-empty member of the comma-separated lists under `name`.
    template <class Visit>
    void for_each_member(std::string_view name, Visit&& visit) const {
        for_each(name, [&](std::string_view value) { detail::for_each_member(value, visit); });
    }

    /// Puts a field behind the others. @return false when `name` is not a token; then nothing changed
    bool add(std::string_view name, std::string_view value);
    /// Makes `value` the only value of `name`, in the place of the first one.
    bool set(std::string_view name, std::string_view value);
    /// @return how many fields were removed
    std::size_t remove(std::string_view name);
    /// Removes the fields for which `drop(name, value)` is true.
    template <class Drop>
    std::size_t remove_if(Drop&& drop) {
        Headers kept;
        kept.text_.reserve(text_.size());
        const std::size_t before = fields_.size();
        for (std::size_t i = 0; i < before; ++i)
            if (const Field f = field(i); !drop(f.name, f.value)) kept.append(f.name, f.value);
        if (kept.fields_.size() != before) *this = std::move(kept);
        return before - fields_.size();
    }

    /// Room for `bytes` more bytes of wire text.
    void reserve(std::size_t bytes) { text_.reserve(text_.size() + bytes); }
    void clear() noexcept {
        text_.clear();
        fields_.clear();
    }
    [[nodiscard]] std::size_t size() const noexcept { return fields_.size(); }
    [[nodiscard]] bool empty() const noexcept { return fields_.empty(); }
    [[nodiscard]] const_iterator begin() const noexcept { return {this, 0}; }
    [[nodiscard]] const_iterator end() const noexcept { return {this, fields_.size()}; }

  private:
    struct Place {
        std::uint32_t name, name_size, value, value_size;
    };
    static constexpr std::size_t max_bytes = std::size_t{1} << 31;  // positions are 32 bits

    [[nodiscard]] Field field(std::size_t i) const noexcept {
        const Place& p = fields_[i];
        return {{text_.data() + p.name, p.name_size}, {text_.data() + p.value, p.value_size}};
    }
    [[nodiscard]] std::size_t find(std::string_view name, std::size_t from) const noexcept {
        while (from < fields_.size() && !detail::equal_ignoring_case(field(from).name, name)) ++from;
        return from;
    }
    bool append(std::string_view name, std::string_view value);

    std::string text_;
    std::vector<Place> fields_;
};

inline bool Headers::append(std::string_view name, std::string_view value) {
    const std::size_t at = text_.size();
    const std::size_t value_at = at + name.size() + 2;
    const std::size_t end = value_at + value.size();
    if (end + 2 > max_bytes) return false;
    text_.resize(end + 2);
    char* const text = text_.data();
    std::copy(name.begin(), name.end(), text + at);
    std::copy_n(": ", 2, text + value_at - 2);
    std::copy(value.begin(), value.end(), text + value_at);
    for (std::size_t i = 0; (i = detail::find_break(value, i)) < value.size(); ++i) text[value_at + i] = ' ';
    std::copy_n("\r\n", 2, text + end);
    fields_.push_back({static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(name.size()),
                       static_cast<std::uint32_t>(value_at), static_cast<std::uint32_t>(value.size())});
    return true;
}

inline bool Headers::add(std::string_view name, std::string_view value) {
    if (!detail::is_token(name)) return false;
    // The views may be of this very block: `h.add("b", *h.get("a"))`.
    const auto is_own = [this](std::string_view view) {
        return view.data() >= text_.data() && view.data() <= text_.data() + text_.size();
    };
    return is_own(name) || is_own(value) ? append(std::string(name), detail::trim(std::string(value)))
                                         : append(name, detail::trim(value));
}

inline bool Headers::set(std::string_view name, std::string_view value) {
    if (!detail::is_token(name)) return false;
    if (!has(name)) return add(name, value);
    Headers next;
    next.text_.reserve(text_.size() + value.size());
    bool placed = false;
    for (const Field f : *this) {
        if (!detail::equal_ignoring_case(f.name, name)) {
            next.append(f.name, f.value);
        } else if (!placed) {
            placed = next.append(name, detail::trim(value));
        }
    }
    if (placed) *this = std::move(next);
    return placed;
}

inline std::size_t Headers::remove(std::string_view name) {
    if (!has(name)) return 0;
    const std::string copy(name);  // it may be a view of this block
    return remove_if(
        [&](std::string_view n, std::string_view) { return detail::equal_ignoring_case(n, copy); });
}

inline std::string Headers::combined(std::string_view name) const {
    std::string list;
    bool first = true;
    for_each(name, [&](std::string_view value) {
        if (!first) list += ", ";
        first = false;
        list += value;
    });
    return list;
}

inline Headers Headers::from_wire(std::string_view block, std::size_t room) {
    Headers headers;
    headers.reserve(block.size() + room);
    if (headers.assign_wire(block)) return headers;
    while (!block.empty()) {  // not as wire() writes it: line by line, dropping what is no field
        const std::size_t end = block.find("\r\n");
        const std::string_view line = block.substr(0, end);
        block.remove_prefix(end == std::string_view::npos ? block.size() : end + 2);
        const std::size_t colon = line.find(':');
        if (colon != std::string_view::npos) headers.add(line.substr(0, colon), line.substr(colon + 1));
    }
    return headers;
}

inline bool Headers::assign_wire(std::string_view block) {
    clear();
    if (block.size() > max_bytes) return false;
    fields_.reserve(16);
    for (std::size_t start = 0; start < block.size();) {
        std::size_t colon = start;
        while (colon < block.size() && detail::token_chars[static_cast<unsigned char>(block[colon])]) ++colon;
        const std::size_t at = colon + 2;
        const std::size_t end = detail::find_break(block, at);
        const bool ends = end + 1 < block.size() && block[end] == '\r' && block[end + 1] == '\n';
        if (!ends || colon == start || block[colon] != ':' || block[colon + 1] != ' ' ||
            (at < end && (detail::is_space(block[at]) || detail::is_space(block[end - 1])))) {
            fields_.clear();
            return false;
        }
        fields_.push_back({static_cast<std::uint32_t>(start), static_cast<std::uint32_t>(colon - start),
                           static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(end - at)});
        start = end + 2;
    }
    text_ = block;
    return true;
}

}  // namespace smartcache::inline v0::http
