# Sourced by quickstart.sh and test.sh: installs what is missing on Debian and its relatives; elsewhere says what is needed.
# Needs nothing but sh and apt-get. Run from the top of the project.

# Installed already, or a program of another origin that does the same.
present() {
    case $1 in
    g++ | cmake | pkg-config | clang | clang-format | ccache) command -v "$1" >/dev/null 2>&1 && return 0 ;;
    ninja-build) command -v ninja >/dev/null 2>&1 && return 0 ;;
    redis-tools) command -v redis-server >/dev/null 2>&1 && return 0 ;;
    esac
    case $(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null) in
    ii*) return 0 ;;
    esac
    return 1
}

# need <Debian package>...: a second run installs nothing and asks nothing.
need() {
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "No apt-get here. Needed, by their Debian names: $*. Going on with what is installed."
        return 0
    fi
    missing=
    for package in "$@"; do
        present "$package" || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0

    as_root=
    if [ "$(id -u)" != 0 ]; then
        if command -v sudo >/dev/null 2>&1; then
            as_root=sudo
        else
            echo "Neither root nor sudo. Missing packages:$missing. Going on with what is installed."
            return 0
        fi
    fi
    echo "Installing:$missing"
    # shellcheck disable=SC2086  # both are lists of words
    if ! { $as_root apt-get update -qq &&
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } \
        >build/apt.log 2>&1 </dev/null; then
        cat build/apt.log
        echo "apt-get could not install:$missing"
        exit 1
    fi
}

# A redis-server to start for tests and for the demonstration, without a system service: Debian's package redis-server starts a
# daemon and enables it at boot, and this project must not leave one behind. The program itself is in redis-tools, under the
# name redis-check-rdb; it looks at the name it is called by.
need_redis_server() {
    need redis-tools
    PATH=$PATH:$PWD/build/tools
    export PATH
    command -v redis-server >/dev/null 2>&1 && return 0
    checker=$(command -v redis-check-rdb) || checker=
    if [ -n "$checker" ]; then
        mkdir -p build/tools
        ln -sf "$checker" build/tools/redis-server
        case $(build/tools/redis-server --version 2>&1) in
        "Redis server"*)
            echo "redis-server: build/tools/redis-server, from the package redis-tools; no system service was installed or started"
            return 0
            ;;
        esac
        rm -f build/tools/redis-server
    fi
    echo "No redis-server found: whatever needs one is skipped."
}

# Compile through ccache where it is installed: CMake reads the variable when it configures a new build directory.
use_ccache() {
    if command -v ccache >/dev/null 2>&1; then
        CMAKE_CXX_COMPILER_LAUNCHER=ccache
        CCACHE_SLOPPINESS=pch_defines,time_macros # asked for by precompiled headers
        CCACHE_BASEDIR=$PWD                       # a clone elsewhere finds the same objects
        CCACHE_NOHASHDIR=true
        export CMAKE_CXX_COMPILER_LAUNCHER CCACHE_SLOPPINESS CCACHE_BASEDIR CCACHE_NOHASHDIR
    fi
}

mkdir -p build
build_packages="g++ cmake ninja-build pkg-config libxxhash-dev libhiredis-dev liblz4-dev libjemalloc-dev
    nlohmann-json3-dev libcpp-httplib-dev libboost-dev libssl-dev redis-tools"
