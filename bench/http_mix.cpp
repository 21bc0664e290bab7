// Hits beside misses: does a caching proxy serve what is stored as fast while every tenth request waits for a slow origin?
//
//     build/release/bench/http_mix [--rounds 3] [--seconds 5] [--clients 32] build/release/examples/caching_proxy
//
// Starts an origin that takes 50 ms, and the proxy, on loopback. Each client has a connection and asks for the next response when it
// has one, at random: nine in ten for one of a hundred that are stored, one in ten for one that nobody has asked for yet; 1 KiB
// each. If hits cost no time, the clients would get "clients / (share of misses x what the origin takes)" a second: that is what the hit
// ratio allows. What the origin takes is measured in the same round, by the same clients, without the proxy.

#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "contest.hpp"
#include "http_peer.hpp"

namespace {

using bench::Peer;
using namespace std::chrono_literals;

/// Answers everything after 50 ms. Threads of its own, as long as the program runs.
class SlowOrigin {
  public:
    SlowOrigin() : listener_(Peer::listen(0)) {
        std::thread([this] {
            for (Peer peer = listener_.accept(); peer.open(); peer = listener_.accept())
                std::thread(serve, std::move(peer)).detach();
        }).detach();
    }
    [[nodiscard]] int port() const { return listener_.port(); }

  private:
    static void serve(Peer peer) {
        const std::string answer =
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nContent-Length: 1024\r\n\r\n" +
            std::string(1024, 'x');
        while (peer.head()) {
            std::this_thread::sleep_for(50ms);
            if (!peer.send(answer)) return;
        }
    }
    Peer listener_;
};

struct Latencies {
    std::vector<double> hits, misses;  // ms

    void add(Latencies&& more) {
        hits.insert(hits.end(), more.hits.begin(), more.hits.end());
        misses.insert(misses.end(), more.misses.begin(), more.misses.end());
    }
};

double mean(const std::vector<double>& values) {
    double sum = 0;
    for (const double value : values) sum += value;
    return values.empty() ? 0 : sum / static_cast<double>(values.size());
}
double percentile(std::vector<double> values, double part) {
    if (values.empty()) return 0;
    const auto at =
        values.begin() + static_cast<std::ptrdiff_t>(static_cast<double>(values.size() - 1) * part);
    std::nth_element(values.begin(), at, values.end());
    return *at;
}

std::atomic<std::uint64_t> next_cold = 0;

/// @param misses  in a thousand
Latencies ask(int port, std::uint64_t seed, std::uint64_t misses,
              std::chrono::steady_clock::time_point until) {
    std::mt19937_64 random(seed);
    Latencies latencies;
    Peer peer = Peer::connect(port);
    for (auto begun = std::chrono::steady_clock::now(); begun < until;) {
        const bool miss = random() % 1000 < misses;
        const std::string path =
            miss ? "/cold/" + std::to_string(next_cold++) : "/hot/" + std::to_string(random() % 100);
        if (!peer.send("GET " + path + " HTTP/1.1\r\nHost: mix\r\n\r\n"))
            throw std::runtime_error("the proxy has hung up");
        const auto answer = bench::read_answer(peer, "GET");
        if (!answer || answer->status != 200 || answer->body.size() != 1024)
            throw std::runtime_error("not the answer");
        const auto ended = std::chrono::steady_clock::now();
        (miss ? latencies.misses : latencies.hits)
            .push_back(std::chrono::duration<double, std::milli>(ended - begun).count());
        begun = ended;
    }
    return latencies;
}

struct Settings {
    std::string proxy;
    std::size_t rounds = 3, seconds = 5, clients = 32;
};

Latencies ask_all(const Settings& settings, int port, std::uint64_t misses) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(settings.seconds);
    std::vector<Latencies> each(settings.clients);
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < settings.clients; ++i)
        threads.emplace_back([&, i] { each[i] = ask(port, next_cold + i, misses, until); });
    for (std::thread& thread : threads) thread.join();
    Latencies all;
    for (Latencies& one : each) all.add(std::move(one));
    return all;
}

void run(const Settings& settings) {
    static SlowOrigin origin;  // its threads outlive this call
    const bench::ProxyProcess proxy(settings.proxy, origin.port(), "{}");
    for (std::size_t i = 0; i < 100; ++i) {
        Peer peer = Peer::connect(proxy.port());
        (void)peer.send("GET /hot/" + std::to_string(i) + " HTTP/1.1\r\nHost: mix\r\n\r\n");
        if (!bench::read_answer(peer, "GET")) throw std::runtime_error("no answer");
    }
    std::printf(
        "| round | requests/s | allowed | ratio | misses | hits: p50 | p99 | p99.9 | misses: p50 | the "
        "origin's mean |\n"
        "|---|---|---|---|---|---|---|---|---|---|\n");
    std::vector<double> ratios;
    std::vector<double> p99s;
    for (std::size_t round = 1; round <= settings.rounds; ++round) {
        const double origins = mean(ask_all(settings, origin.port(), 1000).misses);
        const Latencies got = ask_all(settings, proxy.port(), 100);
        const auto requests = static_cast<double>(got.hits.size() + got.misses.size());
        const double share = static_cast<double>(got.misses.size()) / requests;
        const double rate = requests / static_cast<double>(settings.seconds);
        const double allowed = static_cast<double>(settings.clients) / (share * origins / 1000);
        ratios.push_back(rate / allowed);
        p99s.push_back(percentile(got.hits, 0.99));
        std::printf(
            "| %zu | %.0f | %.0f | %.3f | %.1f %% | %.2f ms | %.2f ms | %.2f ms | %.2f ms | %.2f ms |\n",
            round, rate, allowed, ratios.back(), 100 * share, percentile(got.hits, 0.5), p99s.back(),
            percentile(got.hits, 0.999), percentile(got.misses, 0.5), origins);
        (void)std::fflush(stdout);
    }
    std::printf("median: %.3f of what the hit ratio allows, p99 of hits %.2f ms\n",
                bench::Quartiles(ratios).median, bench::Quartiles(p99s).median);
}

}  // namespace

int main(int argc, char** argv) {
    Settings settings;
    for (int i = 1; i < argc; ++i) {
        const std::string_view name = argv[i];
        const auto number = [&] { return static_cast<std::size_t>(i + 1 < argc ? std::atol(argv[++i]) : 0); };
        if (name == "--rounds")
            settings.rounds = number();
        else if (name == "--seconds")
            settings.seconds = number();
        else if (name == "--clients")
            settings.clients = number();
        else
            settings.proxy = name;
    }
    if (settings.proxy.empty() || settings.rounds == 0 || settings.seconds == 0 || settings.clients == 0) {
        std::fputs("http_mix [--rounds 3] [--seconds 5] [--clients 32] caching_proxy\n", stderr);
        return 2;
    }
    try {
        run(settings);
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "http_mix: %s\n", error.what());
        return 2;
    }
}
