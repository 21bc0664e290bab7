#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace bench {

/// A figure that a child process hands to its parent.
struct Figure {
    std::string row;
    int unit = 0;
    double value = 0;
};
using Figures = std::vector<Figure>;

/// Set by SIGINT and SIGTERM: the child that runs is killed, and its directory is removed on the way out.
inline volatile std::sig_atomic_t interrupted = 0;

inline void stop_when_interrupted() {
    struct sigaction action {};
    action.sa_handler = [](int) { interrupted = 1; };
    (void)::sigaction(SIGINT, &action, nullptr);
    (void)::sigaction(SIGTERM, &action, nullptr);
}

/// Runs `body` in a process of its own, so that neither memory nor threads of one store are left to the next, and
/// one that crashes takes nothing with it.
/// @param killed  the body ends with SIGKILL, and its figures do not count
/// @throws std::runtime_error when it ends otherwise than expected; the child has said why
inline Figures in_child(const std::function<void(Figures&)>& body, bool killed = false) {
    int ends[2];
    if (::pipe(ends) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (child == 0) {
        (void)::signal(SIGINT, SIG_DFL);
        (void)::signal(SIGTERM, SIG_DFL);
        ::close(ends[0]);
        try {
            Figures figures;
            body(figures);
            std::FILE* const out = ::fdopen(ends[1], "w");
            for (const Figure& each : figures)
                std::fprintf(out, "%d %.17g %s\n", each.unit, each.value, each.row.c_str());
            std::fflush(nullptr);
            ::_exit(0);
        } catch (const std::exception& error) {
            std::fprintf(stderr, "%s\n", error.what());
            ::_exit(1);
        }
    }
    ::close(ends[1]);
    Figures figures;
    std::FILE* const in = ::fdopen(ends[0], "r");
    Figure figure;
    char row[256];
    while (std::fscanf(in, "%d %lg %255[^\n]", &figure.unit, &figure.value, row) == 3) {
        figure.row = row;
        figures.push_back(figure);
    }
    std::fclose(in);
    if (interrupted != 0) (void)::kill(child, SIGKILL);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0)
        if (errno != EINTR) throw std::system_error(errno, std::generic_category(), "waitpid");
    if (killed ? !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
               : !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
        throw std::runtime_error("failed");
    return figures;
}

}  // namespace bench
