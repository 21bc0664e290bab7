#pragma once

#include <csignal>

#include <atomic>

namespace smartcache::test {

/// Counts SIGPIPEs, whose default would end the test, as long as it lives.
class SigpipeCounter {
  public:
    SigpipeCounter() {
        count_ = 0;
        struct sigaction counting {};
        counting.sa_handler = [](int) { ++count_; };
        ::sigaction(SIGPIPE, &counting, &before_);
    }
    ~SigpipeCounter() { ::sigaction(SIGPIPE, &before_, nullptr); }
    SigpipeCounter(const SigpipeCounter&) = delete;
    SigpipeCounter& operator=(const SigpipeCounter&) = delete;
    [[nodiscard]] static int count() { return count_; }

  private:
    static inline std::atomic<int> count_{0};
    struct sigaction before_ {};
};

}  // namespace smartcache::test
