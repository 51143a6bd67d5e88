#!/usr/bin/python3
"""A wire that loses one TCP segment of so many, in each direction: between an interface and a tap that it makes. For kernels without netem.
usage: lossy.py INTERFACE TAP ONE_OF"""

import fcntl
import os
import random
import select
import socket
import struct
import sys

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 2, 0x1000
ETH_P_ALL, PACKET_OUTGOING, TCP = 3, 4, 6
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33

line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
line.bind((sys.argv[1], 0))
line.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
line.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 1 << 24)
tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", sys.argv[2].encode(), IFF_TAP | IFF_NO_PI))
one_of, lost, chance = int(sys.argv[3]), 0, random.Random(1)
print("ready", flush=True)


def is_lost(frame):
    global lost
    version = frame[14] >> 4
    protocol = frame[23] if version == 4 else frame[20]
    if protocol != TCP or chance.randrange(one_of):
        return False
    lost += 1
    print("lost", lost, flush=True)
    return True


while True:
    for ready in select.select([line, tap], [], [])[0]:
        try:
            if ready is tap:
                frame = os.read(tap, 65535)
                if not is_lost(frame):
                    line.send(frame)
            else:
                frame, address = line.recvfrom(65535)
                if address[2] != PACKET_OUTGOING and not is_lost(frame):
                    os.write(tap, frame)
        except OSError as error:
            print("refused", error, flush=True)
