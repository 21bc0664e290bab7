#!/bin/sh
# sh cmake/quickstart.sh [option...]
#
# Installs what is missing (Debian 12; as root or with sudo), builds examples/quickstart.cpp and runs it with the options given.
set -eu
cd "$(dirname "$0")/.."
. cmake/bootstrap.sh

# shellcheck disable=SC2086  # a list of words
need $build_packages
need_redis_server
use_ccache

log=build/quickstart.log
echo "Building build/quickstart/examples/quickstart (log: $log)"
if ! {
    cmake --preset release -B build/quickstart -DSMARTCACHE_BUILD_TESTS=OFF -DSMARTCACHE_BUILD_BENCH=OFF &&
        cmake --build build/quickstart --target quickstart
} >$log 2>&1; then
    cat $log
    exit 1
fi
exec build/quickstart/examples/quickstart "$@"
