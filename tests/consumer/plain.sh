#!/bin/sh
# sh plain.sh <compiler> <include> <output> <flag>...
#
# Builds and runs the consumer without CMake. With every part switched off, nothing but xxHash's header may be read.
set -eu
compiler=$1
include=$2
output=$3
shift 3
source=$(dirname "$0")/main.cpp

"$compiler" -std=c++20 -I "$include" "$source" -o "$output" -pthread "$@"
"$output"

case " $* " in
*" -DSMARTCACHE_NO_JSON "*" -DSMARTCACHE_NO_REDIS "*)
    read_too=$("$compiler" -std=c++20 -I "$include" -M "$source" "$@" |
        tr ' ' '\n' | grep -E '/(hiredis|nlohmann|lz4|jemalloc|openssl)' || true)
    if [ -n "$read_too" ]; then
        echo "read although every part is switched off:"
        echo "$read_too"
        exit 1
    fi
    ;;
esac
