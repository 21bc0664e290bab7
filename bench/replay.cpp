// Which eviction policy finds most? Replays request traces through L1 and its public API, one thread: "get;
// on a miss, put".
//
//   replay [options] TRACE|DIRECTORY...
//     --policy adaptive,lru,...   default: all
//     --percent 0.1,1,5,10,25     capacities in % of the unique keys (default); those under 32 are left out
//     --capacity 1000,50000       capacities in entries (with --bytes: in bytes) instead
//     --shards N                  default: the cache's own choice for its capacity
//     --bytes                     weigh entries by the trace's object sizes; --percent is then of the unique
//                                 keys' bytes; traces without sizes are left out
//     --objective objects|bytes   with --bytes: what adaptive is to maximise, default: objects; the mean object and
//                                 byte hit ratios over all pairs of trace and capacity close the table
//     --csv FILE                  the rows as CSV too
//     --reference FILE            reference_hit_ratios.csv: also print each policy's regret to Belady's
//                                 optimum
//
// The hash seed differs from run to run, so ratios of small caches move in the third decimal.

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <exception>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <smartcache/memory/memory_cache.hpp>

#include "trace.hpp"

namespace {

namespace sc = smartcache;

struct Options {
    std::vector<std::filesystem::path> traces;
    std::vector<sc::EvictionPolicy> policies;
    std::vector<double> percents{0.1, 1, 5, 10, 25};
    std::vector<std::size_t> capacities;
    std::optional<std::size_t> shards;
    bool bytes = false;
    sc::HitObjective objective = sc::HitObjective::objects;
    std::string csv;
    std::string reference;
};

struct Row {
    std::string trace;
    sc::EvictionPolicy policy{};
    std::size_t capacity = 0;
    double percent = 0;  // 0: the capacity was given as such
    double hit_ratio = 0;
    double byte_hit_ratio = 0;
    double requests_per_second = 0;
};

std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> parts;
    std::istringstream stream(text);
    for (std::string part; std::getline(stream, part, ',');) parts.push_back(part);
    if (parts.empty()) throw std::invalid_argument("an empty list");
    return parts;
}

template <class Number>
Number number(const std::string& text) {
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || !(value > 0)) {
        throw std::invalid_argument("\"" + text + "\" is not a number above 0");
    }
    return value;
}

template <class Number>
std::vector<Number> numbers(const std::string& text) {
    std::vector<Number> values;
    for (const std::string& part : split(text)) values.push_back(number<Number>(part));
    return values;
}

std::vector<sc::EvictionPolicy> policies(const std::string& text) {
    std::vector<sc::EvictionPolicy> found;
    for (const std::string& name : split(text)) {
        const auto policy = sc::parse_eviction_policy(name);
        if (!policy) throw std::invalid_argument("no policy is named \"" + name + "\"");
        found.push_back(*policy);
    }
    return found;
}

Options parse(int argc, char** argv) {
    Options options;
    options.policies = policies("adaptive,lru,s3_fifo,sieve,w_tinylfu");
    const std::vector<std::string> words(argv + 1, argv + argc);
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::string& word = words[i];
        const auto value = [&]() -> const std::string& {
            if (i + 1 == words.size()) throw std::invalid_argument(word + " wants a value");
            return words[++i];
        };
        if (word == "--policy") {
            options.policies = policies(value());
        } else if (word == "--percent") {
            options.percents = numbers<double>(value());
        } else if (word == "--capacity") {
            options.capacities = numbers<std::size_t>(value());
        } else if (word == "--shards") {
            options.shards = number<std::size_t>(value());
        } else if (word == "--bytes") {
            options.bytes = true;
        } else if (word == "--objective") {
            const std::string& name = value();
            const auto objective = sc::parse_hit_objective(name);
            if (!objective) throw std::invalid_argument("no objective is named \"" + name + "\"");
            options.objective = *objective;
        } else if (word == "--csv") {
            options.csv = value();
        } else if (word == "--reference") {
            options.reference = value();
        } else if (word.starts_with("--")) {
            throw std::invalid_argument("unknown option " + word);
        } else if (std::filesystem::is_directory(word)) {
            for (const auto& file : std::filesystem::directory_iterator(word)) {
                if (file.path().extension() == ".lz4") options.traces.push_back(file.path());
            }
        } else {
            options.traces.emplace_back(word);
        }
    }
    if (options.traces.empty())
        throw std::invalid_argument("no trace is given; the head of bench/replay.cpp lists the options");
    if (options.bytes && !options.reference.empty()) {
        throw std::invalid_argument("--reference holds figures in entries; leave --bytes out");
    }
    std::sort(options.traces.begin(), options.traces.end());
    return options;
}

// Capacity and the percentage it came from.
std::vector<std::pair<std::size_t, double>> capacities(const Options& options, const bench::Trace& trace) {
    std::vector<std::pair<std::size_t, double>> result;
    for (const std::size_t capacity : options.capacities) result.emplace_back(capacity, 0.0);
    if (!result.empty()) return result;
    const double whole =
        options.bytes ? static_cast<double>(trace.unique_bytes) : static_cast<double>(trace.unique_keys);
    for (const double percent : options.percents) {
        const auto capacity = static_cast<std::size_t>(whole * percent / 100);
        if (capacity >= 32) result.emplace_back(capacity, percent);
    }
    return result;
}

Row replay(const Options& options, const bench::Trace& trace, sc::EvictionPolicy policy,
           std::size_t capacity) {
    using Cache = sc::MemoryCache<std::uint64_t, std::uint32_t>;
    sc::MemoryOptions memory;
    memory.policy = policy;
    memory.objective = options.objective;
    memory.shards = options.shards;
    memory.ttl = sc::Duration::max();
    memory.capacity = options.bytes ? std::max<std::size_t>(trace.unique_keys, 1) : capacity;
    Cache::Hooks hooks;
    if (options.bytes) {
        memory.capacity_bytes = capacity;
        hooks.weigher = [](std::uint64_t /*key*/, std::uint32_t size) {
            return std::max<std::size_t>(size, 1);
        };
    }
    Cache cache(memory, std::move(hooks));

    std::uint64_t hits = 0;
    std::uint64_t bytes = 0;
    std::uint64_t hit_bytes = 0;
    const auto start = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < trace.keys.size(); ++i) {
        const std::uint32_t size = trace.sizes.empty() ? 0 : trace.sizes[i];
        bytes += size;
        if (cache.visit(trace.keys[i], [](std::uint32_t) {})) {
            ++hits;
            hit_bytes += size;
        } else {
            (void)cache.set(trace.keys[i], size);
        }
    }
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    const auto requests = static_cast<double>(trace.keys.size());
    Row row;
    row.trace = trace.name;
    row.policy = policy;
    row.capacity = capacity;
    row.hit_ratio = requests == 0 ? 0 : static_cast<double>(hits) / requests;
    row.byte_hit_ratio = bytes == 0 ? 0 : static_cast<double>(hit_bytes) / static_cast<double>(bytes);
    row.requests_per_second = elapsed.count() > 0 ? requests / elapsed.count() : 0;
    return row;
}

const char* name_of(sc::EvictionPolicy policy) {
    return sc::to_string(policy).data();
}

void print(const Row& row) {
    std::printf("%-18s %-10s %12zu %6.4g  %.4f", row.trace.c_str(), name_of(row.policy), row.capacity,
                row.percent, row.hit_ratio);
    if (row.byte_hit_ratio > 0) {
        std::printf("  %.4f", row.byte_hit_ratio);
    } else {
        std::printf("       -");
    }
    std::printf("  %10.2f\n", row.requests_per_second / 1e6);
    std::fflush(stdout);
}

void print_means(const Options& options, const std::vector<Row>& rows) {
    std::printf("\nmeans over all pairs of trace and capacity\n%-10s %6s  %6s  %6s\n", "policy", "pairs",
                "hits", "bytes");
    for (const sc::EvictionPolicy policy : options.policies) {
        double pairs = 0;
        double hits = 0;
        double bytes = 0;
        for (const Row& row : rows) {
            if (row.policy != policy) continue;
            pairs += 1;
            hits += row.hit_ratio;
            bytes += row.byte_hit_ratio;
        }
        if (pairs > 0)
            std::printf("%-10s %6.0f  %.4f  %.4f\n", name_of(policy), pairs, hits / pairs, bytes / pairs);
    }
}

void write_csv(const std::string& path, const std::vector<Row>& rows) {
    std::ofstream file(path);
    file << "trace,policy,capacity,percent,hit_ratio,byte_hit_ratio,requests_per_second\n";
    for (const Row& row : rows) {
        file << row.trace << ',' << name_of(row.policy) << ',' << row.capacity << ',' << row.percent << ','
             << row.hit_ratio << ',' << row.byte_hit_ratio << ',' << row.requests_per_second << '\n';
    }
    if (!file.flush()) throw std::runtime_error(path + ": cannot be written");
}

// What the reference knows of one (trace, capacity) pair.
struct Known {
    double optimum = -1;
    double best_online = 0;
};
using Reference = std::map<std::pair<std::string, std::size_t>, Known>;

Reference read_reference(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    if (!std::getline(file, line) || line != "trace,policy,cache_size_entries,pct_of_unique,hit_ratio") {
        throw std::runtime_error(path + ": not a table of reference hit ratios");
    }
    Reference reference;
    while (std::getline(file, line)) {
        const std::vector<std::string> fields = split(line);
        if (fields.size() != 5) throw std::runtime_error(path + ": a line without five fields: " + line);
        Known& known = reference[{fields[0], number<std::size_t>(fields[2])}];
        const double ratio = std::stod(fields[4]);
        if (fields[1] == "Belady") {
            known.optimum = ratio;
        } else {
            known.best_online = std::max(known.best_online, ratio);
        }
    }
    return reference;
}

void print_regret(const Options& options, const Reference& reference, const std::vector<Row>& rows) {
    std::printf(
        "\nregret: Belady's hit ratio minus the policy's, mean over the pairs of trace and capacity; "
        "behind: below the best listed online policy\n");
    std::printf("%-10s %6s %12s %10s %12s %12s  %s\n", "policy", "pairs", "mean regret", "worst",
                "behind > .02", "behind > .05", "worst pair");
    for (const sc::EvictionPolicy policy : options.policies) {
        std::size_t pairs = 0;
        std::size_t behind_2 = 0;
        std::size_t behind_5 = 0;
        double regret = 0;
        double worst = -1;
        const Row* worst_row = nullptr;
        for (const Row& row : rows) {
            const auto found = reference.find({row.trace, row.capacity});
            if (row.policy != policy || found == reference.end() || found->second.optimum < 0) continue;
            ++pairs;
            regret += found->second.optimum - row.hit_ratio;
            const double behind = found->second.best_online - row.hit_ratio;
            behind_2 += behind > 0.02 ? 1U : 0U;
            behind_5 += behind > 0.05 ? 1U : 0U;
            if (behind > worst) {
                worst = behind;
                worst_row = &row;
            }
        }
        if (pairs == 0) continue;
        std::printf("%-10s %6zu %12.4f %10.4f %12zu %12zu  %s %zu\n", name_of(policy), pairs,
                    regret / static_cast<double>(pairs), worst, behind_2, behind_5, worst_row->trace.c_str(),
                    worst_row->capacity);
    }
}

int run(int argc, char** argv) {
    const Options options = parse(argc, argv);
    const Reference reference = options.reference.empty() ? Reference{} : read_reference(options.reference);
    std::vector<Row> rows;
    std::printf("%-18s %-10s %12s %6s  %6s  %6s  %10s\n", "trace", "policy",
                options.bytes ? "bytes" : "entries", "%", "hits", "bytes", "Mrequest/s");
    for (const std::filesystem::path& path : options.traces) {
        const bench::Trace trace = bench::read_trace(path);
        if (options.bytes && trace.sizes.empty()) continue;
        for (const auto& [capacity, percent] : capacities(options, trace)) {
            for (const sc::EvictionPolicy policy : options.policies) {
                rows.push_back(replay(options, trace, policy, capacity));
                rows.back().percent = percent;
                print(rows.back());
            }
        }
    }
    if (options.bytes) print_means(options, rows);
    if (!options.csv.empty()) write_csv(options.csv, rows);
    if (!reference.empty()) print_regret(options, reference, rows);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "replay: %s\n", error.what());
        return 2;
    }
}
