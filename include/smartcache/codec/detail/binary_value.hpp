#pragma once

// The bytes of BinaryCodec's values. Persistent. Little endian, fixed sizes, no padding:
//
//     bool 0 or 1; integers, characters, enumerations and floating point as their bits; sizes as varints;
//     text, sequences, sets, maps: size, then the elements; optional: 0, or 1 and the value; variant: index,
//     value; arrays, pairs, tuples, structs: their members; something without members: one byte 0, so that
//     every element of a container takes at least one byte and a claimed size can be checked against the
//     bytes that are there.

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <smartcache/codec/detail/binary_shape.hpp>
#include <smartcache/core/bytes.hpp>
#include <smartcache/record/varint.hpp>

namespace smartcache::inline v0::detail {

/// Aggregates may contain themselves through a container: no deeper than this.
inline constexpr std::size_t max_binary_depth = 256;

template <std::size_t Size>
using bits_t =
    std::conditional_t<Size == 1, std::uint8_t,
                       std::conditional_t<Size == 2, std::uint16_t,
                                          std::conditional_t<Size == 4, std::uint32_t, std::uint64_t>>>;

/// Types whose bytes in memory are their bytes here, on this machine.
template <class T>
inline constexpr bool copied_as_is = std::endian::native == std::endian::little && !std::same_as<T, bool> &&
                                     (std::is_arithmetic_v<T> || std::is_enum_v<T>);

template <class T>
inline constexpr bool is_contiguous_sequence = false;
template <class T, class A>
inline constexpr bool is_contiguous_sequence<std::vector<T, A>> = copied_as_is<T>;
template <class C, class R, class A>
inline constexpr bool is_contiguous_sequence<std::basic_string<C, R, A>> = copied_as_is<C>;

class BinaryWriter {
  public:
    explicit BinaryWriter(ByteSink& out) : out_(out) {}

    template <class T>
    void write(const T& value) {
        constexpr StdShape shape = std_shape<T>;
        if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
            put_fixed(out_, std::bit_cast<bits_t<sizeof(T)>>(value));
        } else if constexpr (is_contiguous_sequence<T>) {
            put_varint(out_, value.size());
            out_.append(std::as_bytes(std::span(value.data(), value.size())));
        } else if constexpr (shape == StdShape::optional) {
            out_.append(static_cast<std::byte>(value.has_value()));
            if (value) write(*value);
        } else if constexpr (shape == StdShape::tuple) {
            std::apply([this](const auto&... member) { this->members(member...); }, value);
        } else if constexpr (shape == StdShape::array || std::is_array_v<T>) {
            for (const auto& each : value) write(each);
            if (std::size(value) == 0) out_.append(std::byte{0});
        } else if constexpr (shape == StdShape::sequence || shape == StdShape::set ||
                             shape == StdShape::string) {
            put_varint(out_, static_cast<std::uint64_t>(std::ranges::distance(value)));
            for (const auto& each : value) write<typename T::value_type>(each);
        } else if constexpr (shape == StdShape::map) {
            put_varint(out_, value.size());
            for (const auto& [key, mapped] : value) members(key, mapped);
        } else if constexpr (shape == StdShape::variant) {
            if (value.valueless_by_exception())
                throw std::invalid_argument("smartcache: a variant without a value cannot be encoded");
            put_varint(out_, value.index());
            std::visit([this](const auto& alternative) { this->write(alternative); }, value);
        } else if constexpr (shape == StdShape::duration) {
            write(value.count());
        } else if constexpr (shape == StdShape::time_point) {
            write(value.time_since_epoch().count());
        } else {
            if (depth_ == max_binary_depth)
                throw std::length_error("smartcache: a value is nested too deeply to be encoded");
            ++depth_;
            visit_fields<count_fields<T>()>(value,
                                            [this](const auto&... member) { this->members(member...); });
            --depth_;
        }
    }

  private:
    template <class... Member>
    void members(const Member&... member) {
        if constexpr (sizeof...(Member) == 0)
            out_.append(std::byte{0});
        else
            (write(member), ...);
    }

    ByteSink& out_;
    std::size_t depth_ = 0;
};

/// Reads into values that are there already; on false they hold anything.
class BinaryReader {
  public:
    explicit BinaryReader(ByteView bytes) noexcept : in_(bytes) {}

    [[nodiscard]] bool at_end() const noexcept { return in_.ok() && in_.remaining() == 0; }

    template <class T>
    [[nodiscard]] bool read(T& value) {
        constexpr StdShape shape = std_shape<T>;
        if constexpr (std::same_as<T, bool>) {
            const auto byte = in_.fixed<std::uint8_t>();
            value = byte == 1;
            return in_.ok() && byte <= 1;
        } else if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
            value = std::bit_cast<T>(in_.fixed<bits_t<sizeof(T)>>());
            return in_.ok();
        } else if constexpr (is_contiguous_sequence<T>) {
            return read_contiguous(value);
        } else if constexpr (shape == StdShape::optional) {
            bool there = false;
            if (!read(there)) return false;
            value.reset();
            return !there || read(value.emplace());
        } else if constexpr (shape == StdShape::tuple) {
            return std::apply([this](auto&... member) { return this->members(member...); }, value);
        } else if constexpr (shape == StdShape::array || std::is_array_v<T>) {
            for (auto& each : value)
                if (!read(each)) return false;
            return std::size(value) != 0 || members();
        } else if constexpr (shape == StdShape::sequence || shape == StdShape::string) {
            return read_sequence(value);
        } else if constexpr (shape == StdShape::set) {
            return read_elements([&] {
                typename T::value_type element{};
                return read(element) && insert_new(value, std::move(element));
            });
        } else if constexpr (shape == StdShape::map) {
            return read_elements([&] {
                typename T::key_type key{};
                typename T::mapped_type mapped{};
                return members(key, mapped) && insert_new(value, std::move(key), std::move(mapped));
            });
        } else if constexpr (shape == StdShape::variant) {
            return read_variant(value, std::make_index_sequence<std::variant_size_v<T>>{});
        } else if constexpr (shape == StdShape::duration) {
            typename T::rep count{};
            if (!read(count)) return false;
            value = T(count);
            return true;
        } else if constexpr (shape == StdShape::time_point) {
            typename T::duration since{};
            if (!read(since)) return false;
            value = T(since);
            return true;
        } else {
            if (depth_ == max_binary_depth) return false;
            ++depth_;
            const bool ok = visit_fields<count_fields<T>()>(
                value, [this](auto&... member) { return this->members(member...); });
            --depth_;
            return ok;
        }
    }

  private:
    template <class... Member>
    [[nodiscard]] bool members(Member&... member) {
        if constexpr (sizeof...(Member) == 0)
            return in_.fixed<std::uint8_t>() == 0 && in_.ok();
        else
            return (read(member) && ...);
    }

    /// Calls `read_one` as often as the size says. Each element takes a byte at least and nothing is
    /// reserved, so that a lie ends with the bytes.
    template <class F>
    [[nodiscard]] bool read_elements(F&& read_one) {
        const std::uint64_t count = in_.varint();
        if (!in_.ok()) return false;
        for (std::uint64_t i = 0; i < count; ++i)
            if (!read_one()) return false;
        return true;
    }

    template <class T>
    [[nodiscard]] bool read_contiguous(T& value) {
        const std::uint64_t count = in_.varint();
        if (!in_.ok() || count > in_.remaining() / sizeof(typename T::value_type)) return false;
        const ByteView bytes = in_.bytes(count * sizeof(typename T::value_type));
        value.resize(static_cast<std::size_t>(count));
        if (!bytes.empty()) std::memcpy(value.data(), bytes.data(), bytes.size());
        return true;
    }

    template <class T>
    [[nodiscard]] bool read_sequence(T& value) {
        value.clear();
        if constexpr (is_forward_list<T>) {
            auto last = value.before_begin();
            return read_elements([&] {
                last = value.emplace_after(last);
                return read(*last);
            });
        } else {
            return read_elements([&] {
                typename T::value_type element{};
                if (!read(element)) return false;
                value.push_back(std::move(element));
                return true;
            });
        }
    }

    template <class T, std::size_t... I>
    [[nodiscard]] bool read_variant(T& value, std::index_sequence<I...> /*alternatives*/) {
        const std::uint64_t index = in_.varint();
        return in_.ok() && ((index == I && read(value.template emplace<I>())) || ...);
    }

    ByteReader in_;
    std::size_t depth_ = 0;
};

}  // namespace smartcache::inline v0::detail
