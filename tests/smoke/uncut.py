#!/usr/bin/python3
"""Sends a gateway TCP frames that their sender has left to a card to cut, and prints what comes out on the other side: a line a frame, what
the whole was and the bytes. usage: uncut.py MAC-OF-PORT-TO-CLIENTS MAC-OF-PORT-TO-BACKENDS"""

import ipaddress
import socket
import struct
import sys

ETH_P_ALL, SO_SNDBUFFORCE, SO_RCVBUFFORCE, PACKET_OUTGOING = 3, 32, 33, 4
SYN, ACK, PSH, CWR = 0x02, 0x10, 0x08, 0x80
CLIENT_MAC, BACKEND_MAC = bytes.fromhex("02000000000a"), bytes.fromhex("020000000211")
TO_CLIENTS, TO_BACKENDS = (bytes.fromhex(mac.replace(":", "")) for mac in sys.argv[1:3])
# client, virtual server, backend, a router behind the gateway
ENDS = {
    4: ["10.10.1.2", "198.51.100.1", "10.10.2.11", "10.10.2.254"],
    6: ["fd00:10:1::2", "2001:db8:100::1", "fd00:10:2::11", "fd00:10:2::fe"],
}
TIMESTAMPS = bytes.fromhex("0101080a0000000500000006")


def on(interface):
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    link.bind((interface, 0))
    for option in (SO_SNDBUFFORCE, SO_RCVBUFFORCE):
        link.setsockopt(socket.SOL_SOCKET, option, 1 << 24)
    link.settimeout(20)
    return link


def total(data):
    data += bytes(len(data) % 2)
    words = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while words > 0xFFFF:
        words = (words & 0xFFFF) + (words >> 16)
    return words


def packet(family, macs, ends, protocol, payload, identification=7):
    source, destination = (ipaddress.ip_address(end).packed for end in ends)
    if family == 6:
        header = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + source + destination
        return macs + b"\x86\xdd" + header + payload
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), identification, 0x4000, 64, protocol, 0)
    header += source + destination
    return macs + b"\x08\x00" + header[:10] + struct.pack("!H", total(header) ^ 0xFFFF) + header[12:] + payload


def pseudo(ends, protocol, length):
    return b"".join(ipaddress.ip_address(end).packed for end in ends) + struct.pack("!II", length, protocol)


def segment(family, macs, ends, ports, numbers, flags, data=b"", options=b"", kind="right"):
    offset = (20 + len(options)) // 4 << 4
    start = struct.pack("!HHIIBBH", *ports, *numbers, offset, flags, 0xFA00)
    rest = options + data
    over = pseudo(ends, 6, 20 + len(rest))
    checksum = total(over) if kind == "partial" else total(over + start + bytes(4) + rest) ^ 0xFFFF
    checksum ^= 0x0100 if kind == "wrong" else 0
    return packet(family, macs, ends, 6, start + struct.pack("!HH", checksum, 0) + rest)


def data_of(family, frame):
    """The bytes of data of a frame to the backend, and its flags; None for all else."""
    at = 54 if family == 6 else 34
    kind, protocol = (b"\x86\xdd", 20) if family == 6 else (b"\x08\x00", 23)
    if frame[12:14] != kind or len(frame) < at + 20 or frame[protocol] != 6 or frame[at + 2 : at + 4] != struct.pack("!H", 8080):
        return None
    return len(frame) - at - (frame[at + 12] >> 4) * 4, frame[at + 13]


def heard(link, family, wanted):
    """Frames to the backend, until so many bytes of data have come; with 0, one."""
    frames, have = [], 0
    while not frames or have < wanted:
        frame, sender = link.recvfrom(1 << 17)
        known = data_of(family, frame) if sender[2] != PACKET_OUTGOING else None
        if known is not None:
            frames.append(frame)
            have += known[0]
    return frames


def wait_for_error(link, family):
    """Until the client is told: the gateway knows it then as well."""
    kind, at, protocol = (b"\x86\xdd", 20, 58) if family == 6 else (b"\x08\x00", 23, 1)
    while True:
        frame, sender = link.recvfrom(1 << 17)
        if sender[2] != PACKET_OUTGOING and frame[12:14] == kind and frame[at] == protocol:
            return


def too_big(family, frame, mtu):
    """What a router says of a frame that does not fit its next link."""
    client, _, _, router = ENDS[family]
    quoted, ends = frame[14:][:200], (router, client)
    kind, protocol = ((2, 0), 58) if family == 6 else ((3, 4), 1)
    said = struct.pack("!BBHI", *kind, 0, mtu) + quoted
    checksum = total((pseudo(ends, 58, len(said)) if family == 6 else b"") + said) ^ 0xFFFF
    said = said[:2] + struct.pack("!H", checksum) + said[4:]
    return packet(family, TO_BACKENDS + BACKEND_MAC, ends, protocol, said)


clients, backends = on("peer"), on("tap-card")
for family in (4, 6):
    client, server, backend, _ = ENDS[family]
    macs, back = TO_CLIENTS + CLIENT_MAC, TO_BACKENDS + BACKEND_MAC
    ports, first = (40001, 80), 1000

    def say(flags, data=b"", options=b"", kind="right"):
        clients.send(segment(family, macs, (client, server), ports, (first, 901), flags, data, options, kind))

    say(SYN)
    first += 1
    heard(backends, family, 0)
    backends.send(segment(family, back, (backend, client), (8080, 40001), (900, first), SYN | ACK))
    say(ACK)
    last = heard(backends, family, 0)[-1]
    for mtu in (1500, 1400):
        if mtu < 1500:
            backends.send(too_big(family, last, mtu))
            wait_for_error(clients, family)
        for name, length, flags, options, kind in (
            ("two", 2000, ACK | PSH, b"", "right"),
            ("four", 5000, ACK | PSH, TIMESTAMPS, "right"),
            ("most", 60000, ACK, b"", "right"),
            ("left-to-a-card", 30000, ACK, TIMESTAMPS, "partial"),
            ("congested", 4000, ACK | CWR, b"", "right"),
            ("wrong", 4000, ACK, b"", "wrong"),
        ):
            say(flags, bytes(number % 251 for number in range(length)), options, kind)
            first += length
            for frame in heard(backends, family, length):
                print(f"{name}-over-ipv{family}-at-{mtu}", frame.hex())
                last = frame
