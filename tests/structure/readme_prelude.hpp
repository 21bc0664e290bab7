#pragma once

// What the README's code speaks about without defining it.

#include <smartcache/http.hpp>
#include <smartcache/smartcache.hpp>

#include <chrono>
#include <string>

namespace sc = smartcache;
using namespace std::chrono_literals;

struct User {
    int id = 0;
    std::string name;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(User, id, name)

inline User load_user(int id) {
    return User{id, "Ada"};
}

inline std::string build_report(int number) {
    return "report " + std::to_string(number);
}

inline double expensive_area(double width, double height) {
    return width * height;
}
