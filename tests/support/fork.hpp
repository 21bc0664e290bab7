#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace smartcache_test {

/// Runs `body` in a child process, which has only the calling thread, and ends there without a word.
/// @return whether `body` said true within 120 s; a child that hangs is killed by its alarm
template <class Body>
[[nodiscard]] bool in_child(Body body) {
    const pid_t child = ::fork();
    if (child < 0) return false;
    if (child == 0) {
        ::alarm(120);
        bool good = false;
        try {
            good = body();
        } catch (...) {
        }
        ::_exit(good ? 0 : 1);
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return false;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace smartcache_test
