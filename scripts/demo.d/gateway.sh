# shellcheck shell=bash disable=SC2154
# Tidegate's configuration, its start, and what it says of itself: sourced by scripts/demo.

device_of() { # INTERFACE
    case $device in
        af_packet) echo "net_af_packet_$1,iface=$1" ;;
        af_xdp) echo "net_af_xdp_$1,iface=$1" ;;
        tap) echo "net_tap_$1,iface=tap-$1" ;;
    esac
}

pool() { # NAME PORT BACKEND-PREFIX BACKEND-SUFFIX
    local number
    printf '  - name: %s\n    backends:\n' "$1"
    for number in "${backends[@]}"; do
        printf '      - { address: "%s%s%s:%s" }\n' "$3" "$number" "$4" "$2"
    done
    # The echo service has no port to connect to: its machine's nginx is asked instead. A backend that died is known
    # after 0.9 s at most; one check in three may get lost while everything shares two processors.
    printf '    monitors: [{ type: tcp, port: %s, interval: 300ms, timeout: 250ms, fall: 3, rise: 2 }]\n' "$http_port"
}

virtual_server() { # NAME ADDRESS PORT PROTOCOL
    printf '  - { name: %s, address: "%s", port: %s, protocol: %s, type: fastl4, mode: %s, pool: %s }\n' \
        "$1" "$2" "$3" "$4" "$mode" "$1"
}

configuration() {
    http_port=8080
    if [[ $mode == dsr ]]; then http_port=80; fi # the destination port cannot change on the way
    cat <<END
version: 1
control: { socket: $socket }
ports:
  - name: clients
    device: "$(device_of clients)"
    addresses: [10.10.1.1/24, "fd00:10:1::1/64"]
    facing: clients
    mtu: 1500
  - name: backends
    device: "$(device_of backends)"
    addresses: [10.10.2.1/24, "fd00:10:2::1/64"]
    facing: backends
    host: true # the monitors connect from the kernel's twin of this port
    mtu: 1500
pools:
$(pool http4 "$http_port" 10.10.2.1 "")
$(pool http6 "$http_port" "[fd00:10:2::1" "]")
$(pool echo4 7 10.10.2.1 "")
$(pool echo6 7 "[fd00:10:2::1" "]")
virtual_servers:
$(virtual_server http4 "$vip4" 80 tcp)
$(virtual_server http6 "$vip6" 80 tcp)
$(virtual_server echo4 "$vip4" 7 udp)
$(virtual_server echo6 "$vip6" 7 udp)
END
}

ask_tidegate() { # NOUN [OPTION...]
    timeout --foreground 5 "$tidegate" "$1" list --socket "$socket" "${@:2}"
}

backends_up() { # COUNT: over four pools
    [[ $(ask_tidegate backend -o json | grep -c '"health": "up"') -eq $(($1 * 4)) ]]
}

tidegate_ended() { ! kill -0 "$(cat "$work/tidegate.pid")" 2>/dev/null; }

answers_or_ended() { tidegate_ended || ask_tidegate backend; }

backends_up_or_ended() { tidegate_ended || backends_up "$1"; }

start_tidegate() {
    configuration >"$work/tidegate.yaml"
    start_in gateway "$work/tidegate.log" "$tidegate" run -c "$work/tidegate.yaml"
    echo "$started" >"$work/tidegate.pid"
    wait_until 60 answers_or_ended || fail "Tidegate does not answer on its socket"
    ! tidegate_ended || fail "Tidegate did not start"
    if [[ $device == tap ]]; then join_taps; fi
    wait_until 60 backends_up_or_ended 3 || fail "the monitors do not see three backends up"
    ! tidegate_ended || fail "Tidegate ended while its monitors were at work"
}
