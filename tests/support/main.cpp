// The main function of every test binary: compiled once, because Catch2's runner takes seconds.

#define CATCH_CONFIG_RUNNER
#include "support/catch.hpp"

int main(int argc, char* argv[]) {
    return Catch::Session().run(argc, argv);
}
