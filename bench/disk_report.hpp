#pragma once

#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "disk_rivals.hpp"

namespace bench {

/// What a row's figures are, and so which of two is the better one.
enum class Unit { per_second, ratio, milliseconds, count };

/// Collects figures, and prints medians as a table with a column for each store.
class DiskReport {
  public:
    void add(const std::string& row, Unit unit, const std::string& store, double figure) {
        if (std::find(stores_.begin(), stores_.end(), store) == stores_.end()) stores_.push_back(store);
        auto found =
            std::find_if(rows_.begin(), rows_.end(), [&](const Row& known) { return known.name == row; });
        if (found == rows_.end()) found = rows_.insert(rows_.end(), Row{row, unit, {}});
        found->figures[store].push_back(figure);
    }

    void print() {
        std::printf(
            "\nMedian and best of the rounds, how many times as good SmartCache's is, and the spread\n");
        for (Row& row : rows_) {
            std::printf("\n%s\n", row.name.c_str());
            for (const std::string& store : stores_) {
                const auto found = row.figures.find(store);
                if (found == row.figures.end()) continue;
                std::printf("    %-12s", store.c_str());
                for (const auto figure : {&median, &best}) {
                    std::printf(" %12s", text(row.unit, figure(row.unit, found->second)).c_str());
                    const double times = advantage(row, store, figure);
                    if (times > 0)
                        std::printf(" %7.*fx", times < 0.1 ? 3 : 2, times);
                    else
                        std::printf("         ");
                }
                std::printf("  %4.0f %%, %zu rounds\n", spread(found->second), found->second.size());
            }
        }
        print_markdown();
    }

  private:
    struct Row {
        std::string name;
        Unit unit{};
        std::map<std::string, std::vector<double>> figures;  // by store
    };

    using FigureOf = double (*)(Unit, std::vector<double>&);

    static std::string text(Unit unit, double figure) {
        char line[64];
        switch (unit) {
            case Unit::per_second:
                std::snprintf(line, sizeof(line), "%.*f k/s", figure < 1e5 ? 1 : 0, figure / 1e3);
                break;
            case Unit::ratio:
                std::snprintf(line, sizeof(line), "%.3f", figure);
                break;
            case Unit::milliseconds:
                std::snprintf(line, sizeof(line), "%.1f ms", figure);
                break;
            case Unit::count:
                std::snprintf(line, sizeof(line), "%.0f", figure);
                break;
        }
        return line;
    }

    /// @return 0 where there is nothing to compare
    static double advantage(Row& row, const std::string& store, FigureOf figure) {
        const auto own = row.figures.find(Smart::name);
        const auto other = row.figures.find(store);
        if (store == Smart::name || own == row.figures.end() || other == row.figures.end()) return 0;
        const double ours = figure(row.unit, own->second);
        const double theirs = figure(row.unit, other->second);
        if (row.unit == Unit::per_second) return ours / theirs;
        return row.unit == Unit::milliseconds ? theirs / ours : 0;
    }

    void print_markdown() {
        std::printf("\n| row |");
        for (const std::string& store : stores_) std::printf(" %s |", store.c_str());
        std::printf("\n|---|");
        for (std::size_t i = 0; i < stores_.size(); ++i) std::printf("---|");
        std::printf("\n");
        for (Row& row : rows_) {
            std::printf("| %s |", row.name.c_str());
            for (const std::string& store : stores_) {
                const double times = advantage(row, store, &median);
                const auto found = row.figures.find(store);
                if (found == row.figures.end())
                    std::printf(" - |");
                else if (times > 0)
                    std::printf(" %.*fx |", times < 0.1 ? 3 : 2, times);
                else
                    std::printf(" %s |", text(row.unit, median(row.unit, found->second)).c_str());
            }
            std::printf("\n");
        }
    }

    static double best(Unit unit, std::vector<double>& values) {
        const auto [least, most] = std::minmax_element(values.begin(), values.end());
        return unit == Unit::per_second ? *most : *least;
    }
    static double median(Unit /*unit*/, std::vector<double>& values) {
        std::sort(values.begin(), values.end());
        return values[values.size() / 2];
    }
    static double spread(const std::vector<double>& values) {
        const auto [least, most] = std::minmax_element(values.begin(), values.end());
        return *least > 0 ? 100 * (*most / *least - 1) : 0;
    }

    std::vector<std::string> stores_;  // in the order in which they came
    std::vector<Row> rows_;
};

}  // namespace bench
