#!/bin/sh
# sh separate.sh <compiler> <include> <output> <flag>...
#
# Builds and runs the consumer with the Redis and the disk tier in an object file of their own. None of their code may be in the
# other one.
set -eu
compiler=$1
include=$2
output=$3
shift 3

echo '#include <smartcache/separate_tiers.hpp>' >"$output.tiers.cpp"
for part in "$(dirname "$0")/main.cpp" "$output.tiers.cpp"; do
    "$compiler" -std=c++20 -I "$include" -DSMARTCACHE_SEPARATE_TIERS=1 "$part" -c -o "$output.$(basename "$part").o" "$@"
done
"$compiler" "$output.main.cpp.o" "$output.$(basename "$output").tiers.cpp.o" -o "$output" -pthread "$@"
"$output"

inside=$(nm -C "$output.main.cpp.o" | grep -E 'smartcache::v0::(RedisTier|DiskTier)::' || true)
if [ -n "$inside" ]; then
    echo "code of the tiers in main.cpp's object file:"
    echo "$inside"
    exit 1
fi
