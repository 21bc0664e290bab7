#!/bin/sh
# sh bench/http_proxy.sh [-r rounds] [-d seconds] [caching_proxy...]
#
# How many hits of 1 KiB a second of the processor answers: examples/caching_proxy (build/release/examples/caching_proxy unless told
# otherwise; several are compared), nginx with proxy_cache on tmpfs, varnish with malloc where it is installed, and servers that look
# nothing up, where bench/http_bare is built (build/release/bench/http_bare, or $HTTP_BARE): Beast with fixed bytes, cpp-httplib, and
# cpp-httplib with the cache inside. Needs nginx, wrk and taskset (Debian: nginx-light wrk util-linux varnish). Servers run on core 0
# with one thread or process for requests (cpp-httplib: with one for each connection), wrk on core 1.
set -eu
rounds=5 seconds=4
while getopts r:d: option; do
    case $option in
        r) rounds=$OPTARG ;;
        d) seconds=$OPTARG ;;
        *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || set -- "$(dirname "$0")/../build/release/examples/caching_proxy"
for tool in nginx wrk taskset; do
    command -v $tool >/dev/null || { echo "no $tool" >&2; exit 2; }
done

dir=$(mktemp -d /dev/shm/smartcache-proxy-XXXXXX)
started=
finish() {
    trap - EXIT INT TERM
    for pid in $started; do kill "$pid" 2>/dev/null || :; done
    for pid in $started; do wait "$pid" 2>/dev/null || :; done
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 1' INT TERM

# start <name> <command...>: in the background, on core 0; its pid is $pid
start() {
    name=$1
    shift
    taskset -c 0 "$@" >"$dir/$name.log" 2>&1 &
    pid=$!
    started="$started $pid"
}

origin=$((20000 + $$ % 10000))
mkdir "$dir/www"
head -c 1024 /dev/zero | tr '\0' x >"$dir/www/1k"
# nginx_conf <name> <http block>
nginx_conf() {
    cat >"$dir/$1.conf" <<EOF
daemon off;
worker_processes 1;
pid $dir/$1.pid;
error_log $dir/$1.err;
$([ "$(id -u)" != 0 ] || echo 'user root;')
events { worker_connections 1024; }
http {
    client_body_temp_path $dir/$1.body;
    proxy_temp_path $dir/$1.proxy;
    fastcgi_temp_path $dir/$1.fastcgi;
    uwsgi_temp_path $dir/$1.uwsgi;
    scgi_temp_path $dir/$1.scgi;
    keepalive_requests 1000000000;
    $2
}
EOF
}
nginx_conf origin "access_log $dir/origin.seen;
    server { listen 127.0.0.1:$origin; root $dir/www; add_header Cache-Control max-age=3600; }"
start origin nginx -e "$dir/origin.err" -c "$dir/origin.conf"

# servers: lines of "<name> <pid> <port>"
port=$origin
for proxy; do
    port=$((port + 1))
    # shellcheck disable=SC2046  # two words or none: older ones have a thread per connection
    start "proxy$port" "$proxy" --listen 127.0.0.1:$port --origin 127.0.0.1:$origin \
        $("$proxy" --help | grep -q -e --threads && echo --threads 1)
    echo "$proxy $pid $port" >>"$dir/servers"
done
port=$((port + 1))
nginx_conf nginx "access_log off;
    proxy_cache_path $dir/cache keys_zone=cache:8m;
    open_file_cache max=100;
    server { listen 127.0.0.1:$port; location / { proxy_pass http://127.0.0.1:$origin; proxy_cache cache; } }"
start nginx nginx -e "$dir/nginx.err" -c "$dir/nginx.conf"
echo "nginx $pid $port" >>"$dir/servers"
if command -v varnishd >/dev/null; then
    port=$((port + 1))
    start varnish varnishd -F -j none -n "$dir/varnish" -a 127.0.0.1:$port -b 127.0.0.1:$origin -s malloc,64m -p thread_pools=1
    echo "varnish $pid $port" >>"$dir/servers"
else
    echo "varnish: not installed" >&2
fi
bare=${HTTP_BARE:-"$(dirname "$0")/../build/release/bench/http_bare"}
if [ -x "$bare" ]; then
    for how in beast httplib httplib-wrap httplib-mount; do
        port=$((port + 1))
        start $how "$bare" $how $port
        echo "$how $pid $port" >>"$dir/servers"
    done
else
    echo "http_bare: not built" >&2
fi

# Processor time of a process and its children, in ticks.
ticks() {
    for p in "$1" $(cat /proc/"$1"/task/*/children 2>/dev/null); do  # a thread may end meanwhile
        sed 's/.*) //' /proc/"$p"/stat
    done | awk '{ sum += $12 + $13 } END { print sum }'
}
load() { taskset -c 1 wrk -t1 -c64 -d"$2" "http://127.0.0.1:$1/1k"; }

# The first round warms up: each cache asks the origin, which must not be asked again.
while read -r name pid port; do
    tries=0
    until load "$port" 1 >"$dir/wrk" 2>&1 && ! grep -q -e 'Non-2xx' -e ' 0 requests' "$dir/wrk"; do
        tries=$((tries + 1))
        sleep 1
        [ $tries -lt 10 ] || { echo "$name does not answer:" >&2; cat "$dir"/*.log "$dir"/*.err "$dir/wrk" >&2; exit 1; }
    done
done <"$dir/servers"
asked=$(wc -l <"$dir/origin.seen")
hz=$(getconf CLK_TCK)
round=0
while [ $round -lt "$rounds" ]; do
    round=$((round + 1))
    while read -r name pid port; do
        before=$(ticks "$pid")
        load "$port" "$seconds" >"$dir/wrk"
        after=$(ticks "$pid")
        if grep 'Non-2xx\|Socket errors' "$dir/wrk" >&2; then echo "$name, round $round" >&2; exit 1; fi
        awk -v name="$name" -v round=$round -v ticks=$((after - before)) -v hz="$hz" '
            / requests in / { requests = $1 } /^Requests\/sec/ { rate = $2 }
            END { print name, round, requests / ticks * hz, rate }' "$dir/wrk" >>"$dir/results"
    done <"$dir/servers"
done
[ "$(wc -l <"$dir/origin.seen")" = "$asked" ] || { echo "the origin was asked: these were not all hits" >&2; exit 1; }

echo "Requests per second of the server's processor time (utime + stime), median of $rounds rounds (least, most); times"
echo "nginx, beast and httplib: medians of the rounds' ratios; requests per second as wrk saw them: median."
awk '
    function median(list, n,   i, j, t) {
        for (i = 2; i <= n; i++)
            for (j = i; j > 1 && list[j] < list[j - 1]; j--) { t = list[j]; list[j] = list[j - 1]; list[j - 1] = t }
        return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
    }
    !($1 in seen) { seen[$1] = 1; order[++servers] = $1 }
    { speed[$1, $2] = $3; rate[$1, $2] = $4; rounds = $2 }
    END {
        others = split("nginx beast httplib", other)
        print "| server | per core-second | times nginx | times beast | times httplib | per second |\n|---|---|---|---|---|---|"
        for (s = 1; s <= servers; s++) {
            name = order[s]
            for (r = 1; r <= rounds; r++) { a[r] = speed[name, r]; c[r] = rate[name, r] }
            middle = median(a, rounds)
            printf "| %s | %d (%d, %d) |", name, middle, a[1], a[rounds]
            for (o = 1; o <= others; o++) {
                if (!(other[o] in seen)) { printf " - |"; continue }
                for (r = 1; r <= rounds; r++) b[r] = speed[name, r] / speed[other[o], r]
                printf " %.2f |", median(b, rounds)
            }
            printf " %d |\n", median(c, rounds)
        }
    }' "$dir/results"
