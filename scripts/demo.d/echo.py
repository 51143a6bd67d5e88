"""Sends every UDP datagram back from the address and port that it was sent to.

usage: echo.py PORT ADDRESS...
"""

import selectors
import socket
import sys


def listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_DGRAM)
    listener.setblocking(False)
    listener.bind((address, port))
    return listener


def main() -> None:
    port, addresses = int(sys.argv[1]), sys.argv[2:]
    ready = selectors.DefaultSelector()
    for address in addresses:
        # One socket an address: on a wildcard socket the kernel would choose the reply's source by itself.
        ready.register(listen(address, port), selectors.EVENT_READ)
    while True:
        for key, _ in ready.select():
            try:
                datagram, sender = key.fileobj.recvfrom(65535)
                key.fileobj.sendto(datagram, sender)
            except OSError:
                continue  # an ICMP error for an earlier reply; the next datagram is as good as any


main()
