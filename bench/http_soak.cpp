// Minutes of a caching proxy's life: nothing wrong may come out of it, and it must not grow.
//
//     build/release/bench/http_soak [--minutes 10] [--clients 8] [--disk] build/release/examples/caching_proxy
//
// Starts an origin and the proxy on loopback, with 64 MiB of memory (and with a disk tier, if told to), and lets clients loose:
// keys that change over time, 100 B to 300 KiB, fresh for 1 to 5 s, with ETag, Vary, ranges, HEAD, no-store, private, chunked; POSTs that
// invalidate, purges by URL and by tag, clients that hang up in the middle of a request or a response. One resource in
// five belongs to an unreliable part of the origin, which answers 500, nothing, nonsense, half a body, or late; and every half minute the
// origin is away for a second and a half. Each answer is judged (http_soak_site.hpp): it is this resource's, whole, in a version that
// freshness, stale-while-revalidate, and after a failure `grace` allow, and made after every purge and POST that had been
// answered before it was asked for. An error, or an answer that is cut off, is the origin's if it failed that resource
// meanwhile, else ours: then the exit code is 1, as it is when resident memory at the end is a quarter above that after the second minute.

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "http_peer.hpp"
#include "http_soak_origin.hpp"
#include "http_soak_site.hpp"

namespace {

using bench::Answer;
using bench::Events;
using bench::Kind;
using bench::Peer;
using bench::Resource;
using namespace std::chrono_literals;

struct Tally {
    std::atomic<std::size_t> requests = 0, hits = 0, stale = 0, changes = 0, aborts = 0, origins_errors = 0,
                             errors = 0;
};

/// One client: a connection, and what it asks for.
class Client {
  public:
    Client(int port, Events& events, Tally& tally, std::int64_t begun, std::uint64_t seed)
        : port_(port), events_(events), tally_(tally), begun_(begun), random_(seed) {}

    void step() {
        // Twenty resources a second come into use, most requests are for the newest ones.
        const double wide = static_cast<double>(random_() % 1'000'000) / 1e6;
        const auto oldest = static_cast<std::uint64_t>((bench::now_ms() - begun_) / 50);
        const Resource resource{oldest + static_cast<std::uint64_t>(2000 * wide * wide * wide)};
        const std::uint64_t die = random_() % 1000;
        if (die < 20) return abort(resource);
        if (die < 30) return post(resource);
        if (die < 35) return purge(resource, false);
        if (die < 37) return purge(resource, true);
        get(resource, die < 100 ? "HEAD" : "GET");
    }

  private:
    std::string request(Resource resource, std::string_view method, std::string_view more = {}) const {
        std::string text(method);
        text.append(" /k/").append(std::to_string(resource.number)).append(" HTTP/1.1\r\nHost: soak\r\n");
        return text.append(more);
    }
    std::optional<Answer> exchange(const std::string& text, std::string_view method) {
        ++tally_.requests;
        asked_ = text.substr(0, text.find('\r'));
        if (!peer_.open()) peer_ = Peer::connect(port_);
        if (!peer_.open() || !peer_.send(text)) return std::nullopt;
        auto answer = bench::read_answer(peer_, method);
        if (!answer || !answer->whole || answer->head.get("connection") == "close") peer_.close();
        return answer;
    }

    void get(Resource resource, std::string_view method) {
        std::string more;
        std::string variant;
        if (resource.kind() == Kind::vary) {
            variant = std::array{"en", "de", "fr"}[random_() % 3];
            more = "Accept-Language: " + variant + "\r\n";
        } else if (resource.kind() == Kind::user) {
            variant = "Bearer " + std::to_string(random_() % 4);
            more = "Authorization: " + variant + "\r\n";
        }
        std::size_t first = 0;
        std::size_t last = 0;
        std::int64_t asked = 0;
        const std::uint64_t die = method == "GET" ? random_() % 10 : 9;
        if (die == 0) {
            first = random_() % 50;
            last = first + random_() % 50;  // every version has as much
            more += "Range: bytes=" + std::to_string(first) + "-" + std::to_string(last) + "\r\n";
        } else if (die == 1 && resource.lasts()) {
            asked = resource.version_at(bench::now_ms());
            more += "If-None-Match: " + resource.etag(asked) + "\r\n";
        }
        const std::int64_t floor = events_.floor(resource);
        const std::int64_t begun = bench::now_ms();
        const auto answer = exchange(request(resource, method, more + "\r\n"), method);
        const std::int64_t ended = bench::now_ms();
        const bool excused = events_.excused(resource, begun, ended);
        const auto wrong = [&](const std::string& what) { report(excused, what, answer); };
        if (!answer) return wrong("no answer");
        if (answer->status >= 500) return wrong("an error");
        if (!answer->whole) return wrong("cut off");
        const std::string_view cache_status = answer->head.get("cache-status");
        if (cache_status.find("; hit") != std::string_view::npos) ++tally_.hits;

        std::int64_t version = asked;
        if (answer->status == 304) {
            if (asked == 0 || answer->head.get("etag") != resource.etag(asked)) return blame("304", answer);
        } else if (const auto given = answer->head.number("version"); !given || answer->status / 100 != 2) {
            return blame("neither content nor error", answer);
        } else {
            version = *given;
            const std::string content = resource.content(version, variant);
            if (method == "HEAD") {
                const auto size = answer->head.number("content-length");
                if (size && static_cast<std::size_t>(*size) != content.size())
                    return blame("length in HEAD", answer);
            } else if (answer->status == 206) {
                const std::string range = "bytes " + std::to_string(first) + "-" + std::to_string(last) +
                                          "/" + std::to_string(content.size());
                if (die != 0 || answer->head.get("content-range") != range ||
                    answer->body != std::string_view(content).substr(first, last - first + 1))
                    return blame("not this part", answer);
            } else if (answer->body != content) {
                return blame("not this content", answer);
            }
        }
        const bool late = excused && resource.stale_on_error();
        const std::int64_t oldest = begun - resource.reused_ms();
        if (version < resource.version_at(oldest)) ++tally_.stale;
        if (version < resource.version_at(oldest - (late ? bench::grace_ms : 0)) || version > ended)
            return blame("too old by " + std::to_string(oldest - version) + " ms", answer);
        if (version < resource.version_at(floor))
            return blame("invalidated " + std::to_string(begun - floor) + " ms ago", answer);
    }

    void post(Resource resource) {
        std::string content(100 + random_() % 50'000, 'p');
        const std::int64_t begun = bench::now_ms();
        const auto answer = exchange(
            request(resource, "POST", "Content-Length: " + std::to_string(content.size()) + "\r\n\r\n") +
                content,
            "POST");
        const auto made = answer ? answer->head.number("version") : std::nullopt;
        if (!answer || answer->status != 200 || !answer->whole || answer->body != "ok" || !made)
            return report(events_.excused(resource, begun, bench::now_ms()), "POST failed", answer);
        ++tally_.changes;
        events_.invalidated(resource, *made);
    }

    void purge(Resource resource, bool by_tag) {
        std::string more = "Purge-Key: soak\r\n";
        if (by_tag) more += "Cache-Tag: t" + std::to_string(resource.tag()) + "\r\n";
        const std::int64_t begun = bench::now_ms();
        const auto answer = exchange(request(resource, "PURGE", more + "\r\n"), "PURGE");
        // 404: there was nothing to purge.
        if (!answer || (answer->status / 100 != 2 && answer->status != 404))
            return blame("PURGE failed", answer);
        ++tally_.changes;
        if (by_tag)
            events_.tag_purged(resource.tag(), begun);
        else
            events_.invalidated(resource, begun);
    }

    /// Hangs up: in the middle of the head, behind it, in the middle of what it sends or of what it gets.
    void abort(Resource resource) {
        ++tally_.aborts;
        Peer peer = Peer::connect(port_);
        const std::uint64_t die = random_() % 4;
        std::string text = request(resource, die == 2 ? "POST" : "GET");
        if (die == 2) text += "Content-Length: 100000\r\n\r\nhalf of it";
        if (die == 1 || die == 3) text += "\r\n";
        (void)peer.send(text);
        std::string begin;
        if (die == 3) (void)peer.content(50, begin);
    }

    void blame(const std::string& what, const std::optional<Answer>& answer) { report(false, what, answer); }
    void report(bool origins, const std::string& what, const std::optional<Answer>& answer) {
        if (origins) {
            ++tally_.origins_errors;
            return;
        }
        if (++tally_.errors > 20) return;
        std::string text = what + " (" + asked_ + ")";
        if (answer) {
            text += ": " + answer->head.first;
            for (const auto& [name, value] : answer->head.fields) text += "\n    " + name + ": " + value;
        }
        std::fprintf(stderr, "http_soak: %s\n", text.c_str());
    }

    const int port_;
    Events& events_;
    Tally& tally_;
    const std::int64_t begun_;
    std::mt19937_64 random_;
    Peer peer_;
    std::string asked_;
};

struct Settings {
    std::string proxy;
    long minutes = 10;
    long clients = 8;
    bool disk = false;
};

int soak(const Settings& settings) {
    const auto events = std::make_unique<Events>();
    bench::SoakOrigin origin(*events);
    bench::ProxyProcess proxy(
        settings.proxy, origin.port(),
        std::string(
            R"({"cache": {"memory": {"capacity": 100000, "capacity_bytes": 67108864}, "max_value_size": 262144)") +
            (settings.disk ? R"(, "disk": {"enabled": true, "path": "@/disk", "max_size": 268435456})" : "") +
            R"(}, "http": {"grace": "5s"}, "proxy": {"purge_key": "soak"}})");
    Tally tally;
    std::atomic<bool> stopping = false;
    const std::int64_t begun = bench::now_ms();
    std::vector<std::thread> clients;
    for (long i = 0; i < settings.clients; ++i)
        clients.emplace_back([&, i] {
            Client client(proxy.port(), *events, tally, begun, static_cast<std::uint64_t>(i + 1));
            while (!stopping) {
                client.step();
                std::this_thread::sleep_for(1ms);  // the machine is not to be what is tested
            }
        });

    long early = 0;
    const auto print = [&](const char* time) {
        // Pages of the disk tier's files are the system's to take back.
        const long resident = proxy.status(settings.disk ? "RssAnon:" : "VmRSS:");
        std::printf("%6s %9zu %9zu %9zu %6zu %7zu %7zu %8zu %7zu %9.1f %6td %7ld\n", time,
                    tally.requests.load(), origin.requests(), tally.hits.load(), tally.stale.load(),
                    tally.changes.load(), tally.aborts.load(), tally.origins_errors.load(),
                    tally.errors.load(), static_cast<double>(resident) / 1024, proxy.descriptors(),
                    proxy.status("Threads:"));
        (void)std::fflush(stdout);
        return resident;
    };
    std::printf("%6s %9s %9s %9s %6s %7s %7s %8s %7s %9s %6s %7s\n", "min", "requests", "origin", "hits",
                "stale", "changes", "aborts", "origin's", "errors", "MiB", "files", "threads");
    for (long half = 1; half <= 2 * settings.minutes && proxy.alive(); ++half) {
        const std::int64_t until = begun + half * 30'000;
        std::this_thread::sleep_for(std::chrono::milliseconds(until - 1500 - bench::now_ms()));
        if (half % 2 == 0) {
            const long resident = print(std::to_string(half / 2).c_str());
            if (half == 4) early = resident;
        }
        origin.go_away(1500ms);
    }
    stopping = true;
    for (std::thread& client : clients) client.join();
    if (!proxy.alive()) {
        std::fprintf(stderr, "http_soak: the proxy has ended\n");
        return 1;
    }
    std::this_thread::sleep_for(5s);  // its workers end when they have nothing to do
    const long late = print("idle");
    const bool grown = early != 0 && late > early + early / 4;
    if (grown) std::fprintf(stderr, "http_soak: it grows\n");
    const bool ended = proxy.stop();
    if (!ended) std::fprintf(stderr, "http_soak: the proxy did not end as it should\n");
    return tally.errors == 0 && !grown && ended ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    Settings settings;
    for (int i = 1; i < argc; ++i) {
        const std::string_view name = argv[i];
        if (name == "--disk")
            settings.disk = true;
        else if (name == "--minutes" && i + 1 < argc)
            settings.minutes = std::atol(argv[++i]);
        else if (name == "--clients" && i + 1 < argc)
            settings.clients = std::atol(argv[++i]);
        else
            settings.proxy = name;
    }
    if (settings.proxy.empty()) {
        std::fputs("http_soak [--minutes 10] [--clients 8] [--disk] caching_proxy\n", stderr);
        return 2;
    }
    try {
        return soak(settings);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "http_soak: %s\n", error.what());
        return 2;
    }
}
