# shellcheck shell=bash
# The demo's network: sourced by scripts/demo, changes nothing outside the namespaces that it makes.
#
#   client ──────────── clients ┌─────────┐ backends ─────── switch ──┬── backend1
#   10.10.1.100                 │ gateway │                 (bridge)  ├── backend2
#   fd00:10:1::100   10.10.1.1  └─────────┘  10.10.2.1                └── backend3
#                    fd00:10:1::1            fd00:10:2::1      10.10.2.11-13, fd00:10:2::11-13
#
# Tidegate takes the interfaces `clients` and `backends`; the kernel of the gateway's namespace has no address there.
# Every other interface has its link-local address, as on a real host: neighbour discovery needs it.
# With --mode dsr there is one more leg, client ── switch, on which the backends answer past the gateway.

prefix=tidegate-demo
backends=(1 2 3)
vip4=198.51.100.10
vip6=2001:db8:100::10

in_namespace() { # NAME COMMAND...
    local name=$1
    shift
    ip netns exec "$prefix-$name" "$@"
}

# IPv6 addresses are usable at once, without the second that the check for duplicates takes.
make_namespace() { # NAME
    ip netns add "$prefix-$1"
    ip -n "$prefix-$1" link set lo up
    in_namespace "$1" sysctl -qw net.ipv6.conf.default.autoconf=0 net.ipv6.conf.default.accept_ra=0 \
        net.ipv6.conf.default.accept_dad=0
}

# A cable between two namespaces. One queue each way, since af_xdp hears nothing on an interface with several.
make_cable() { # NAMESPACE INTERFACE NAMESPACE INTERFACE
    ip link add "$2" netns "$prefix-$1" numrxqueues 1 numtxqueues 1 type veth \
        peer name "$4" netns "$prefix-$3" numrxqueues 1 numtxqueues 1
    ip -n "$prefix-$1" link set "$2" up
    ip -n "$prefix-$3" link set "$4" up
}

# veth would pass frames of up to 64 KiB and leave it to a NIC that is not there to cut them up: no frame of the
# demo may be larger than the MTU. Checksums may stay unfinished; Tidegate completes them.
cut_frames_to_the_mtu() { # NAMESPACE INTERFACE
    in_namespace "$1" ethtool -K "$2" tso off gso off gro off
}

make_switch() { # NAMESPACE BRIDGE
    ip -n "$prefix-$1" link add "$2" type bridge mcast_snooping 0
    ip -n "$prefix-$1" link set "$2" up
}

add_addresses() { # NAMESPACE INTERFACE ADDRESS...
    local namespace=$1 interface=$2 address
    shift 2
    for address in "$@"; do
        ip -n "$prefix-$namespace" address add "$address" dev "$interface"
    done
}

# Tidegate refuses an interface that has addresses; a link-local one would come by itself.
remove_ipv6() { # INTERFACE
    in_namespace gateway sysctl -qw "net.ipv6.conf.$1.disable_ipv6=1"
}

# The host twins carry the gateway's addresses in the same namespace: the kernel would take what arrives on another
# interface for its own, and reset the connections that it does not know. On interfaces that exist before it starts
# Tidegate sees to that itself.
keep_the_kernel_off() { # INTERFACE
    remove_ipv6 "$1"
    in_namespace gateway sysctl -qw "net.ipv4.conf.$1.rp_filter=1" "net.ipv4.conf.$1.arp_ignore=8"
}

make_client() {
    make_cable client eth0 gateway clients
    cut_frames_to_the_mtu client eth0
    remove_ipv6 clients
    add_addresses client eth0 10.10.1.100/24 fd00:10:1::100/64
    ip -n "$prefix-client" route add 198.51.100.0/24 via 10.10.1.1
    ip -n "$prefix-client" route add 2001:db8:100::/64 via fd00:10:1::1
}

make_backend() { # NUMBER MODE
    local name=backend$1
    make_cable "$name" eth0 switch "$name"
    ip -n "$prefix-switch" link set "$name" master bridge
    cut_frames_to_the_mtu "$name" eth0
    add_addresses "$name" eth0 "10.10.2.1$1/24" "fd00:10:2::1$1/64"
    case $2 in
        nat) # replies must pass the gateway: it turns the backend's address back into the virtual server's
            ip -n "$prefix-$name" route add default via 10.10.2.1
            ip -n "$prefix-$name" route add default via fd00:10:2::1
            ;;
        full_nat) ;; # replies go to the gateway's own address, which is on the backend's network
        dsr)         # the backend answers as the virtual server, straight to the client
            hold_the_virtual_server "$name"
            ip -n "$prefix-$name" route add default via 10.10.2.100
            ip -n "$prefix-$name" route add default via fd00:10:2::100
            ;;
    esac
}

# The address is on the loopback, and nobody on the network may learn that: the gateway alone answers for it.
hold_the_virtual_server() { # NAMESPACE
    in_namespace "$1" sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
    add_addresses "$1" lo "$vip4/32" "$vip6/128"
}

# The road back in dsr. On a real site it is a router; here the client has a second leg on the backends' network.
make_return_road() {
    make_cable client direct switch client
    ip -n "$prefix-switch" link set client master bridge
    cut_frames_to_the_mtu client direct
    in_namespace client sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.direct.rp_filter=0
    add_addresses client direct 10.10.2.100/24 fd00:10:2::100/64
}

make_network() { # MODE
    local number
    make_namespace client
    make_namespace gateway
    make_namespace switch
    make_switch switch bridge
    make_cable gateway backends switch gateway
    ip -n "$prefix-switch" link set gateway master bridge
    remove_ipv6 backends
    make_client
    for number in "${backends[@]}"; do
        make_namespace "backend$number"
        make_backend "$number" "$1"
    done
    if [[ $1 == dsr ]]; then make_return_road; fi
}

# With net_tap Tidegate makes its interfaces itself; each is joined with its cable by a bridge. The kernel's end of a
# tap starts with the address of Tidegate's end, which a bridge would take for its own: it gets another. DPDK sets the
# first again when it starts the port, so this is for a Tidegate that answers already.
join_tap() { # INTERFACE NUMBER
    make_switch gateway "br-$1"
    keep_the_kernel_off "br-$1"
    keep_the_kernel_off "tap-$1"
    ip -n "$prefix-gateway" link set "tap-$1" address "02:00:00:00:7a:0$2"
    ip -n "$prefix-gateway" link set "tap-$1" master "br-$1" up
    ip -n "$prefix-gateway" link set "$1" master "br-$1"
}

join_taps() {
    join_tap clients 1
    join_tap backends 2
}

namespaces() { ip netns list | awk -v prefix="$prefix-" 'index($1, prefix) == 1 { print $1 }'; }

remove_network() {
    local namespace
    for namespace in $(namespaces); do
        # Whatever still runs in there was started there.
        ip netns pids "$namespace" | xargs --no-run-if-empty kill -KILL 2>/dev/null || true
        ip netns delete "$namespace"
    done
}
