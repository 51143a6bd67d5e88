#!/usr/bin/python3
"""Joins interfaces of its own to a trunk: what they send gets the tag of their VLAN, and what comes with a tag goes to the interface
of that VLAN, without it. For kernels without 8021q. usage: tag.py TRUNK INTERFACE=ID ..."""

import fcntl
import os
import select
import socket
import struct
import sys

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 2, 0x1000
SOL_PACKET, PACKET_AUXDATA = 263, 8
ETH_P_ALL, VLAN = 3, 0x8100
TAG_IS_VALID = 1 << 4
PACKET_OUTGOING = 4
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33

trunk = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
trunk.bind((sys.argv[1], 0))
trunk.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
trunk.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
trunk.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 1 << 24)

taps, ids = {}, {}
for name, number in (argument.split("=") for argument in sys.argv[2:]):
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    taps[int(number)], ids[tap] = tap, int(number)
print("ready", flush=True)


def from_tap(tap):
    frame = os.read(tap, 65535)
    trunk.send(frame[:12] + struct.pack("!HH", VLAN, ids[tap]) + frame[12:])


def from_trunk():
    # The kernel takes tags off and tells them beside the frame.
    frame, beside, _, address = trunk.recvmsg(65535, 256)
    if address[2] == PACKET_OUTGOING:
        return
    for level, kind, data in beside:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, *_, control, _ = struct.unpack("IIIHHHH", data)
            tap = taps.get(control & 0xFFF)
            if status & TAG_IS_VALID and tap is not None:
                os.write(tap, frame)


while True:
    for ready in select.select([trunk, *ids], [], [])[0]:
        try:
            from_trunk() if ready is trunk else from_tap(ready)
        except OSError as error:
            print("refused", error, flush=True)
