# shellcheck shell=bash disable=SC2154
# nginx and the echo service in each backend's namespace: sourced by scripts/demo.

# A session of its own: Ctrl-C is for this script, which then stops everything in order; --keep outlives it.
start_in() { # NAMESPACE LOG COMMAND...
    local namespace=$1 log=$2
    shift 2
    setsid ip netns exec "$prefix-$namespace" "$@" </dev/null >>"$log" 2>&1 &
    started=$!
    disown "$started"
}

# The command has a shell of its own: a signal that comes meanwhile is handled with this one's output, not with none.
wait_until() { # SECONDS COMMAND...
    local deadline=$((SECONDS + $1))
    shift
    until ("$@") >/dev/null 2>&1; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}

start_nginx() { # NUMBER
    local dir=$work/backend$1
    mkdir -p "$dir/files/upload"
    sed "s|@NAME@|backend$1|; s|@DIR@|$dir|" "$here/nginx.conf" >"$dir/nginx.conf"
    start_in "backend$1" "$dir/nginx.log" nginx -e "$dir/error.log" -c "$dir/nginx.conf"
    wait_until 30 in_namespace "backend$1" curl -sf --max-time 5 http://127.0.0.1:8080/ ||
        fail "nginx does not answer in backend$1: $(cat "$dir/nginx.log" "$dir/error.log")"
}

processes_of_nginx() { # NUMBER
    ip netns pids "$prefix-backend$1" | while read -r pid; do
        if [[ $(cat "/proc/$pid/comm") == nginx ]]; then echo "$pid"; fi
    done
}

start_echo() { # NUMBER
    local addresses=("10.10.2.1$1" "fd00:10:2::1$1")
    if [[ $mode == dsr ]]; then addresses+=("$vip4" "$vip6"); fi
    start_in "backend$1" "$work/backend$1/echo.log" /usr/bin/python3 "$here/echo.py" 7 "${addresses[@]}"
}

start_backends() {
    local number
    head -c 256M /dev/urandom >"$work/object"
    object_sum=$(checksum <"$work/object")
    for number in "${backends[@]}"; do
        start_nginx "$number"
        start_echo "$number"
    done
}
