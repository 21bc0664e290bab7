// What the compiler must refuse, and why it says so: `refused.cmake` compiles this with WRONG defined, once, and looks for
// each message, and for the line of each mistake. Without WRONG this is the right program next to it, and is compiled with
// everything else.

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <smartcache/codec/bytes.hpp>
#include <smartcache/facade/cached.hpp>
#include <smartcache/facade/smart_cache.hpp>

namespace sc = smartcache;

namespace refused {

using Cache = sc::SmartCache<sc::BytesCodec>;

struct Base {};
struct Derived : Base {};
inline int to_key(const Base& /*base*/) {
    return 1;
}
struct Opaque {
    int value = 0;
};
struct Named {
    int value = 0;
};
inline int to_key(const Named& named) {
    return named.value;
}

inline int by_value(int value) {
    return value;
}
inline void nothing(int /*value*/) {}
inline const std::string& lasting(int /*value*/) {
    static const std::string text;
    return text;
}
inline int of_pointer(const int* value) {
    return *value;
}
inline int of_opaque(Opaque opaque) {
    return opaque.value;
}
inline int of_derived(Derived /*derived*/) {
    return 1;
}
inline int of_named(Named named) {
    return named.value;
}

struct Uncopyable {
    std::unique_ptr<int> inside;
    std::string operator()() const { return "text"; }
};

#ifdef WRONG
#define CASE(right, wrong) wrong
#else
#define CASE(right, wrong) right
#endif

// clang-format off
void loaders(Cache& cache) {
    (void)cache.get_or_compute("k", CASE([] { return std::string("v"); }, [](int) { return std::string("v"); }));  // refused: a loader is callable as T\(\)
    (void)cache.get_or_compute("k", sc::owned(CASE([] { return std::string("v"); }, Uncopyable{})));  // refused: an owned loader is copied
    (void)cache.set("k", CASE(std::string("v"), Opaque{}));  // refused: codec cannot encode this type
}

void functions(Cache& cache) {
    (void)sc::cached<CASE(&by_value, &nothing)>(cache);  // refused: a function without a result cannot be cached
    (void)sc::cached<CASE(&by_value, &lasting)>(cache);  // refused: a function that returns a reference cannot be cached
    (void)sc::cached<CASE(&by_value, [](int value) { return value; })>(cache);  // refused: cached<&f> takes the address of a function
}

void keys(Cache& cache) {
    (void)CASE(sc::cached<&by_value>(cache).key(1), sc::cached<&of_pointer>(cache).key(nullptr));  // refused: a pointer cannot be part of a key
    (void)CASE(sc::cached<&of_named>(cache).key({}), sc::cached<&of_opaque>(cache).key({}));  // refused: this argument's type cannot be part of a key
    (void)CASE(sc::cached<&of_named>(cache).key({}), sc::cached<&of_derived>(cache).key({}));  // refused: takes another type \(a base class
}

void reads(Cache& cache) {
    (void)cache.get<CASE(std::string_view, const char*)>("k");  // refused: cannot be read as a char pointer
    (void)cache.get<std::span<CASE(const std::byte, std::byte)>>("k");  // refused: values are immutable
}
// clang-format on

}  // namespace refused
