"""Kills processes while it opens a new connection every 20 ms, and says until when new connections failed.

usage: kill.py ADDRESS PORT SECONDS PROCESS...

Prints `ATTEMPTS FAILURES LAST`: how many connections it began after the kill, how many of these got no answer, and
how many milliseconds after the kill the last one of those began (0 when none failed). One process both kills and asks,
so that there is one clock, and that how long programs take to start does not count.
"""

import os
import signal
import socket
import sys
import threading
import time

INTERVAL = 0.02
# One question per connection. A first SYN that is lost is sent again after 1 s: that is too late.
PATIENCE = 0.9


def is_answered(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=PATIENCE) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return client.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def main() -> None:
    address, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    began_failing: list[float] = []

    def ask(began: float) -> None:
        if not is_answered(address, port):
            began_failing.append(began)

    for process in sys.argv[4:]:
        os.kill(int(process), signal.SIGKILL)
    killed = time.monotonic()
    threads = []
    while (began := time.monotonic() - killed) < seconds:
        threads.append(threading.Thread(target=ask, args=(began,)))
        threads[-1].start()
        time.sleep(INTERVAL)
    for thread in threads:
        thread.join()
    print(len(threads), len(began_failing), round(1000 * max(began_failing, default=0)))


main()
