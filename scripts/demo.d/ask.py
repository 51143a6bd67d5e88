"""Sends UDP datagrams, each from a port of its own, and again when no answer comes, as UDP's users must.

usage: ask.py ADDRESS PORT COUNT

Prints `ANSWERED AGAIN`: how many came back unchanged, and how many of them only when they were sent again. It stops at
the first that does not come back at all.
"""

import itertools
import signal
import socket
import sys

TRIES = 5
# Seconds.
PATIENCE = 1


def tries_until_answered(address: str, port: int, question: bytes) -> int | None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.connect((address, port))
        for number in range(1, TRIES + 1):
            try:
                client.send(question)
                if client.recv(65535) == question:
                    return number
            except OSError:
                continue
    return None


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a word
    address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    tries = (tries_until_answered(address, port, b"question %d" % number) for number in range(count))
    answered = list(itertools.takewhile(bool, tries))
    print(len(answered), sum(number > 1 for number in answered))


main()
