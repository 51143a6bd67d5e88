# shellcheck shell=bash disable=SC2154
# What a run that failed shows and leaves for whoever looks for the reason: sourced by scripts/demo.

# Logs, answers, counters and the network as it is now, in the place of those of an earlier failure.
keep_traces() {
    local namespace
    [[ -d $work ]] || return 0
    rm -rf "$kept"
    mkdir -m 700 "$kept"
    (cd "$work" && find . -type f -size -4M ! -path '*/files/*' ! -path '*/body/*' -exec cp --parents -t "$kept" {} +)
    cat /proc/loadavg >"$kept/load.txt"
    for namespace in $(namespaces); do
        state_of "$namespace" >"$kept/$namespace.txt" 2>&1
    done
    keep_counters
}

keep_counters() {
    local noun
    if [[ ! -S $socket ]] || tidegate_ended; then return; fi
    for noun in backend drop virtual-server pool worker flow; do
        ask_tidegate "$noun" >"$kept/$noun.txt" 2>&1 || return
    done
    curl -s --max-time 5 --unix-socket "$socket" http://tidegate/metrics >"$kept/metrics.txt"
}

show_traces() {
    [[ -d $work ]] || return 0
    if [[ -s $work/tidegate.log ]]; then
        printf '\nthe end of Tidegate'"'"'s log:\n'
        tail -n 15 "$work/tidegate.log" | sed 's/^/  /'
    fi
    if [[ -s $work/tidegate.pid ]] && tidegate_ended; then printf '\nTidegate has ended\n'; fi
    if [[ -s $kept/drop.txt ]]; then
        printf '\nbackends and drops:\n'
        sed 's/^/  /' "$kept/backend.txt" "$kept/drop.txt"
    fi
    printf '\nall logs and counters, and the state of the network: %s\n' "$kept"
}

state_of() { # NAMESPACE
    ip -n "$1" -s -d link show
    ip -n "$1" address show
    ip -n "$1" route show
    ip -n "$1" -6 route show
    ip -n "$1" neighbour show
    ip netns exec "$1" bridge fdb show
    ip netns exec "$1" ss -tuanie
    ip netns exec "$1" cat /proc/net/snmp /proc/net/snmp6 /proc/net/netstat
}
