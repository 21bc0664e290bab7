#pragma once

// What JSON, MessagePack and CBOR have in common: values to and from a `nlohmann::json` tree, strictly.

#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <smartcache/codec/codec.hpp>
#include <smartcache/core/bytes.hpp>

namespace smartcache::inline v0::detail {

using JsonTree = nlohmann::json;

/// Types that refer to characters or objects that somebody else owns, alone or inside standard containers.
template <class T>
inline constexpr bool holds_view = std::is_pointer_v<T> || std::is_array_v<T>;
template <>
inline constexpr bool holds_view<std::string_view> = true;
template <class T, std::size_t N>
inline constexpr bool holds_view<std::span<T, N>> = true;
template <class T>
inline constexpr bool holds_view<std::optional<T>> = holds_view<T>;
template <class T, class A>
inline constexpr bool holds_view<std::vector<T, A>> = holds_view<T>;
template <class T, std::size_t N>
inline constexpr bool holds_view<std::array<T, N>> = holds_view<T>;
template <class K, class V, class... Rest>
inline constexpr bool holds_view<std::map<K, V, Rest...>> = holds_view<K> || holds_view<V>;
template <class K, class V, class... Rest>
inline constexpr bool holds_view<std::unordered_map<K, V, Rest...>> = holds_view<K> || holds_view<V>;
template <class... T>
inline constexpr bool holds_view<std::tuple<T...>> = (holds_view<T> || ...);
template <class A, class B>
inline constexpr bool holds_view<std::pair<A, B>> = holds_view<A> || holds_view<B>;

template <class T>
inline constexpr bool is_std_optional = false;
template <class T>
inline constexpr bool is_std_optional<std::optional<T>> = true;

template <class T>
struct json_element {
    using type = T;
};
template <class T>
struct json_element<std::optional<T>> : json_element<T> {};

/// What nlohmann_json converts both ways; `std::optional` of it is added here.
template <class T>
concept JsonConvertible = !holds_view<T> && std::same_as<T, std::remove_cvref_t<T>> &&
                          (std::same_as<typename json_element<T>::type, JsonTree> ||
                           requires(const typename json_element<T>::type& value, const JsonTree& tree) {
                               {JsonTree(value)};
                               {
                                   tree.template get<typename json_element<T>::type>()
                                   } -> std::same_as<typename json_element<T>::type>;
                           });

// An absence is null. Where the value inside may be null itself, an engaged optional is an array of one, so
// that the two stay apart.
template <class T>
inline constexpr bool may_be_null = std::same_as<T, JsonTree> || is_std_optional<T>;

template <class T>
[[nodiscard]] JsonTree to_tree(const T& value) {
    if constexpr (is_std_optional<T>) {
        using Inner = typename T::value_type;
        if (!value) return nullptr;
        JsonTree inner = to_tree(*value);
        if constexpr (may_be_null<Inner>) return JsonTree::array({std::move(inner)});
        if (inner.is_null())
            throw std::invalid_argument(
                "smartcache: a value that is null in JSON cannot be told from no value");
        return inner;
    } else if constexpr (std::same_as<T, JsonTree>) {
        return value;
    } else {
        return JsonTree(value);
    }
}

template <class T>
[[nodiscard]] std::optional<T> from_tree(const JsonTree& tree);

template <class T>
inline constexpr int json_shape = 0;  // 0: left to nlohmann_json
template <class T, class A>
inline constexpr int json_shape<std::vector<T, A>> = 1;
template <class T, std::size_t N>
inline constexpr int json_shape<std::array<T, N>> = 2;
template <class V, class... Rest>
inline constexpr int json_shape<std::map<std::string, V, Rest...>> = 3;
template <class V, class... Rest>
inline constexpr int json_shape<std::unordered_map<std::string, V, Rest...>> = 3;
template <class... T>
inline constexpr int json_shape<std::tuple<T...>> = 4;
template <class A, class B>
inline constexpr int json_shape<std::pair<A, B>> = 4;

template <class T>
[[nodiscard]] std::optional<T> number_from_tree(const JsonTree& tree) {
    if constexpr (std::is_same_v<T, bool>) {
        if (!tree.is_boolean()) return std::nullopt;
        return tree.get<bool>();
    } else if constexpr (std::is_integral_v<T>) {
        if (tree.is_number_unsigned()) {
            const auto number = tree.get<std::uint64_t>();
            if (number > static_cast<std::uint64_t>(std::numeric_limits<T>::max())) return std::nullopt;
            return static_cast<T>(number);
        }
        if (!tree.is_number_integer()) return std::nullopt;
        const auto number = tree.get<std::int64_t>();
        if constexpr (std::is_unsigned_v<T>) {
            if (number < 0) return std::nullopt;
            if (static_cast<std::uint64_t>(number) > std::numeric_limits<T>::max()) return std::nullopt;
        } else {
            if (number < std::numeric_limits<T>::min() || number > std::numeric_limits<T>::max())
                return std::nullopt;
        }
        return static_cast<T>(number);
    } else {
        if (tree.is_number_float()) {
            const auto number = tree.get<double>();
            const auto narrow = static_cast<T>(number);
            if (!std::isnan(number) && (narrow < static_cast<T>(number) ||
                                        static_cast<long double>(narrow) != static_cast<long double>(number)))
                return std::nullopt;
            return narrow;
        }
        // A whole number reads as a fraction while that changes nothing.
        if (!tree.is_number_integer()) return std::nullopt;
        const long double exact = tree.is_number_unsigned()
                                      ? static_cast<long double>(tree.get<std::uint64_t>())
                                      : static_cast<long double>(tree.get<std::int64_t>());
        const auto narrow = static_cast<T>(exact);
        if (static_cast<long double>(narrow) != exact) return std::nullopt;
        return narrow;
    }
}

template <class T, std::size_t... I>
[[nodiscard]] std::optional<T> tuple_from_tree(const JsonTree& tree, std::index_sequence<I...> /*unused*/) {
    if (!tree.is_array() || tree.size() != sizeof...(I)) return std::nullopt;
    std::tuple<std::optional<std::tuple_element_t<I, T>>...> parts{
        from_tree<std::tuple_element_t<I, T>>(tree[I])...};
    if (!(std::get<I>(parts).has_value() && ...)) return std::nullopt;
    return T(std::move(*std::get<I>(parts))...);
}

/// The tree as a `T`, when that changes neither value nor kind: a number that does not fit, a fraction as an
/// integer, a boolean as a number and so on give nullopt. Inside standard containers too; user-defined types
/// decide for themselves.
template <class T>
[[nodiscard]] std::optional<T> from_tree(const JsonTree& tree) {
    if constexpr (std::same_as<T, JsonTree>) {
        return tree;
    } else if constexpr (is_std_optional<T>) {
        using Inner = typename T::value_type;
        if (tree.is_null()) return std::optional<T>(std::in_place, std::nullopt);
        const JsonTree* inner = &tree;
        if constexpr (may_be_null<Inner>) {
            if (!tree.is_array() || tree.size() != 1) return std::nullopt;
            inner = &tree[0];
        }
        std::optional<Inner> value = from_tree<Inner>(*inner);
        if (!value) return std::nullopt;
        return std::optional<T>(std::in_place, std::move(*value));
    } else if constexpr (std::is_arithmetic_v<T>) {
        return number_from_tree<T>(tree);
    } else if constexpr (std::same_as<T, std::string>) {
        if (!tree.is_string()) return std::nullopt;
        return tree.get_ref<const std::string&>();
    } else if constexpr (json_shape<T> == 1) {
        if (!tree.is_array()) return std::nullopt;
        T result;
        result.reserve(tree.size());
        for (const JsonTree& element : tree) {
            auto value = from_tree<typename T::value_type>(element);
            if (!value) return std::nullopt;
            result.push_back(std::move(*value));
        }
        return result;
    } else if constexpr (json_shape<T> == 2) {
        return [&]<std::size_t... I>(std::index_sequence<I...>)->std::optional<T> {
            if (!tree.is_array() || tree.size() != sizeof...(I)) return std::nullopt;
            std::array<std::optional<typename T::value_type>, sizeof...(I)> parts{
                from_tree<typename T::value_type>(tree[I])...};
            for (const auto& part : parts)
                if (!part) return std::nullopt;
            return T{std::move(*parts[I])...};
        }
        (std::make_index_sequence<std::tuple_size_v<T>>());
    } else if constexpr (json_shape<T> == 3) {
        if (!tree.is_object()) return std::nullopt;
        T result;
        for (auto member = tree.begin(); member != tree.end(); ++member) {
            auto value = from_tree<typename T::mapped_type>(member.value());
            if (!value) return std::nullopt;
            result.emplace(member.key(), std::move(*value));
        }
        return result;
    } else if constexpr (json_shape<T> == 4) {
        return tuple_from_tree<T>(tree, std::make_index_sequence<std::tuple_size_v<T>>());
    } else {
        try {
            return tree.template get<T>();
        } catch (const std::bad_alloc&) {
            throw;
        } catch (const std::exception&) {  // nlohmann_json and from_json report what does not fit by throwing
            return std::nullopt;
        }
    }
}

/// Builds a tree from parser events. Foreign bytes may nest without end and the binary parsers recurse, so
/// depth is bounded; nothing is allocated for sizes that are merely claimed.
class TreeBuilder final : public nlohmann::json_sax<JsonTree> {
  public:
    static constexpr std::size_t max_depth = 200;

    bool null() override { return put(nullptr); }
    bool boolean(bool value) override { return put(value); }
    bool number_integer(number_integer_t value) override { return put(value); }
    bool number_unsigned(number_unsigned_t value) override { return put(value); }
    bool number_float(number_float_t value, const string_t& /*text*/) override { return put(value); }
    bool string(string_t& value) override { return put(std::move(value)); }
    bool binary(binary_t& value) override { return put(JsonTree::binary(std::move(value))); }
    bool start_object(std::size_t /*claimed*/) override { return open(JsonTree::object()); }
    bool start_array(std::size_t /*claimed*/) override { return open(JsonTree::array()); }
    bool key(string_t& name) override {
        key_ = std::move(name);
        return true;
    }
    bool end_object() override { return close(); }
    bool end_array() override { return close(); }
    bool parse_error(std::size_t /*position*/, const std::string& /*token*/,
                     const nlohmann::detail::exception& /*error*/) override {
        return false;
    }

    [[nodiscard]] JsonTree take() { return std::move(root_); }

  private:
    template <class V>
    JsonTree& place(V&& value) {
        if (open_.empty()) return root_ = JsonTree(std::forward<V>(value));
        JsonTree& parent = *open_.back();
        if (parent.is_object()) return parent[key_] = JsonTree(std::forward<V>(value));
        parent.push_back(JsonTree(std::forward<V>(value)));
        return parent.back();
    }
    template <class V>
    bool put(V&& value) {
        (void)place(std::forward<V>(value));
        return true;
    }
    bool open(JsonTree&& container) {
        if (open_.size() == max_depth) return false;
        open_.push_back(
            &place(std::move(container)));  // stays put: nothing joins the parent while this is open
        return true;
    }
    bool close() {
        open_.pop_back();
        return true;
    }

    JsonTree root_;
    std::vector<JsonTree*> open_;
    std::string key_;
};

[[nodiscard]] inline std::optional<JsonTree> parse_tree(ByteView bytes,
                                                        nlohmann::json::input_format_t format) {
    TreeBuilder builder;
    const char* const first = reinterpret_cast<const char*>(bytes.data());
    if (!JsonTree::sax_parse(first, first + bytes.size(), &builder, format)) return std::nullopt;
    return builder.take();
}

/// Whether some number in the tree is NaN or infinite, which JSON text cannot say.
[[nodiscard]] inline bool has_non_finite(const JsonTree& tree) {
    if (tree.is_number_float()) return !std::isfinite(tree.get<double>());
    if (tree.is_structured())
        for (const JsonTree& part : tree)
            if (has_non_finite(part)) return true;
    return false;
}

}  // namespace smartcache::inline v0::detail
