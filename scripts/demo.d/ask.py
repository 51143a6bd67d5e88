"""Sends UDP datagrams, each from a port of its own, and prints how many came back unchanged.

usage: ask.py ADDRESS PORT COUNT
"""

import socket
import sys


def answered(address: str, port: int, question: bytes) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(2)
        client.connect((address, port))
        client.send(question)
        try:
            return client.recv(65535) == question
        except OSError:
            return False


def main() -> None:
    address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    print(sum(answered(address, port, b"question %d" % number) for number in range(count)))


main()
