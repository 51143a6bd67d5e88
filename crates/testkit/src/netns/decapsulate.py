#!/usr/bin/python3
"""Takes packets out of outer headers, as a backend of `ipip` and `gue` does: IP within IP (protocols 4 and 41) and within UDP to
port 6080, over both families. The kernel checks the outer headers (its sockets get what is left), and the inner ones again as if
they had come by the interface `inner`. For kernels without ipip, sit, ip6_tunnel and fou. Prints each outer source once."""

import fcntl
import os
import select
import socket
import struct

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 1, 0x1000
UDP_NO_CHECK6_RX = 102
SO_RCVBUFFORCE = 33
IPIP, IPV6, GUE = 4, 41, 6080

tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"inner", IFF_TUN | IFF_NO_PI))
os.system("ip link set inner mtu 9000 up")

sockets = {}
for family in (socket.AF_INET, socket.AF_INET6):
    for protocol in (IPIP, IPV6):
        sockets[socket.socket(family, socket.SOCK_RAW, protocol)] = "raw4" if family == socket.AF_INET else "raw6"
    datagrams = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        datagrams.setsockopt(socket.IPPROTO_UDP, UDP_NO_CHECK6_RX, 1)
    datagrams.bind(("", GUE))
    sockets[datagrams] = "udp"
for each in sockets:
    each.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
print("ready", flush=True)

seen = set()
while True:
    for each in select.select(list(sockets), [], [])[0]:
        packet, source = each.recvfrom(65535)
        if sockets[each] == "raw4":  # with the outer header
            packet = packet[(packet[0] & 15) * 4 :]
        if source[:2] not in seen:
            seen.add(source[:2])
            print("from", source[0], source[1], flush=True)
        try:
            os.write(tun, packet)
        except OSError as error:
            print("refused", error, packet[:40].hex(), flush=True)
