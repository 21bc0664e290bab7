#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "l1_latency.hpp"
#include "l1_rivals.hpp"

namespace bench {

// The workloads that are compared with each other.
inline constexpr const char* get_hot = "get, 1k hot keys";
inline constexpr const char* get_all = "get, 100k keys";
inline constexpr const char* get_many = "get_many(16), 100k keys";

/// Prints the usual lines and, at the end, tables of medians as ratios.
class RatioReporter : public benchmark::ConsoleReporter {
  public:
    void ReportRuns(const std::vector<Run>& runs) override {
        ConsoleReporter::ReportRuns(runs);
        for (const Run& each : runs) {
            if (each.run_type != Run::RT_Iteration) continue;
            const std::string name = each.run_name.function_name;
            const std::size_t first = name.find('|');
            const std::size_t second = name.find('|', first + 1);
            const Row row(name.substr(0, first), static_cast<int>(each.threads));
            const std::string cache = name.substr(first + 1, second - first - 1);
            const auto counter = [&each](const char* of) -> const benchmark::Counter* {
                const auto found = each.counters.find(of);
                return found == each.counters.end() ? nullptr : &found->second;
            };
            if (const auto* const p999 = counter("p99.9_ns")) {
                Latency& cell = latencies_[row][cache];
                cell.p50.push_back(counter("p50_ns")->value);
                cell.p99.push_back(counter("p99_ns")->value);
                cell.p999.push_back(p999->value);
                cell.below.push_back(counter("p99.9_below_5us")->value);
                cell.over_5us.push_back(counter("over_5us")->value);
                cell.call.push_back(row.second / counter("items_per_second")->value);
                continue;
            }
            Speed& cell = speeds_[row][cache];
            cell.rates.push_back(counter("items_per_second")->value);
            if (const auto* const ratio = counter("hit_ratio")) cell.hit_ratio = ratio->value;
        }
    }

    void Finalize() override {
        ConsoleReporter::Finalize();
        print_speeds();
        print_among_own();
        print_latencies();
    }

  private:
    using Row = std::pair<std::string, int>;  // workload, threads
    struct Speed {
        std::vector<double> rates;
        double hit_ratio = -1;
    };
    struct Latency {
        std::vector<double> p50, p99, p999;
        std::vector<double> below, over_5us;  // p99.9 of the calls below 5 us, share of the others
        std::vector<double> call;             // seconds from one call of a thread to its next
    };

    void print_speeds() {
        if (speeds_.empty()) return;
        std::printf(
            "\nMedian operations per second (millions), and how often a rival's speed MemoryCache's is\n\n");
        for (auto& [row, cells] : speeds_) {
            std::printf("%s, %d thread(s)\n", row.first.c_str(), row.second);
            const auto base = cells.find(Memory::name);
            for (auto& [cache, cell] : cells) {
                const double rate = median(cell.rates);
                std::printf("    %-28s %8.2f M/s  spread %4.1f %%", cache.c_str(), rate / 1e6,
                            spread(cell.rates));
                if (cell.hit_ratio >= 0) std::printf("  hits %.4f", cell.hit_ratio);
                if (base != cells.end() && cache != Memory::name)
                    std::printf("  MemoryCache is %5.2fx", median(base->second.rates) / rate);
                std::printf("\n");
            }
        }
    }

    /// What one cache gains by threads and by batches; and the time of a hit over that of a map's.
    void print_among_own() {
        print_gain("get, 1k hot keys: speed of 2 threads over that of the same cache's 1", {get_hot, 2},
                   {get_hot, 1});
        for (const int threads : {1, 2})
            print_gain("get_many(16), 100k keys, " + std::to_string(threads) +
                           " thread(s): speed over that of the same cache's single gets",
                       {get_many, threads}, {get_all, threads});
        for (const char* const workload : {get_hot, get_all}) {
            auto& cells = speeds_[{workload, 1}];
            const auto map = cells.find(unlocked_map);
            if (map == cells.end()) continue;
            std::printf("\n%s, 1 thread: time over that of %s\n", workload, unlocked_map);
            for (auto& [cache, cell] : cells)
                if (cache != unlocked_map) print_ratio(cache, map->second.rates, cell.rates);
        }
    }

    void print_gain(const std::string& title, const Row& row, const Row& over) {
        bool titled = false;
        for (auto& [cache, cell] : speeds_[row]) {
            const auto other = speeds_[over].find(cache);
            if (other == speeds_[over].end()) continue;
            if (!std::exchange(titled, true)) std::printf("\n%s\n", title.c_str());
            print_ratio(cache, cell.rates, other->second.rates);
        }
    }

    static void print_ratio(const std::string& cache, std::vector<double>& rates, std::vector<double>& over) {
        std::printf("    %-28s %5.2fx\n", cache.c_str(), median(rates) / median(over));
    }

    void print_latencies() {
        if (latencies_.empty()) return;
        const Overhead empty = empty_loop();
        std::printf(
            "\nMedian nanoseconds of a get, and how many times a rival's p99.9 the p99.9 of ours is\n"
            "The empty loop: p50 %.0f, p99 %.0f, p99.9 %.0f; the machine interrupts it %.0f times a second "
            "for "
            "more than 5 us\n",
            empty.p50, empty.p99, empty.p999, empty.interruptions_per_second);
        for (auto& [row, cells] : latencies_) {
            std::printf("\n%s, %d threads\n%32s %6s %6s %6s %8s %10s %10s %14s %19s %19s\n",
                        row.first.c_str(), row.second, "", "p50", "p99", "p99.9", "spread", "over 5 us",
                        "(machine)", "p99.9 below it", "MemoryCache, below", "SmartCache, below");
            for (auto& [cache, cell] : cells) {
                std::printf("    %-28s %6.0f %6.0f %6.0f %6.0f %% %8.3f %% %8.3f %% %14.0f", cache.c_str(),
                            median(cell.p50), median(cell.p99), median(cell.p999), spread(cell.p999),
                            100 * median(cell.over_5us),
                            100 * median(cell.call) * empty.interruptions_per_second, median(cell.below));
                if (cache != Memory::name && cache != Facade::name)
                    for (const char* const own : {Memory::name, Facade::name})
                        if (const auto base = cells.find(own); base != cells.end())
                            std::printf(" %10.2fx %6.2fx", median(base->second.p999) / median(cell.p999),
                                        median(base->second.below) / median(cell.below));
                std::printf("\n");
            }
        }
    }

    static double median(std::vector<double>& values) {
        std::sort(values.begin(), values.end());
        return values[values.size() / 2];
    }
    static double spread(std::vector<double>& values) {
        return 100 * (*std::max_element(values.begin(), values.end()) /
                          *std::min_element(values.begin(), values.end()) -
                      1);
    }

    std::map<Row, std::map<std::string, Speed>> speeds_;
    std::map<Row, std::map<std::string, Latency>> latencies_;
};

}  // namespace bench
