#!/bin/sh
# sh cmake/test.sh
#
# Installs what is missing (Debian 12; as root or with sudo), then configures, builds and runs all tests: the preset `dev`.
set -eu
cd "$(dirname "$0")/.."
. cmake/bootstrap.sh

# shellcheck disable=SC2086  # a list of words
need $build_packages catch2 libpoco-dev librestinio-dev
need_redis_server
use_ccache

exec cmake --workflow --preset dev
