"""Kills processes, then opens a new connection every 20 ms, and says until when such connections failed.

usage: kill.py ADDRESS PORT SECONDS PROCESS...

Prints `BEGUN FAILED LAST`: how many connections it began after the kill, how many of them were not answered, and how
many milliseconds after the kill the last of those began (0 when none failed). One program kills and asks, so there is
one clock, and it does not count how long programs take to start.
"""

import os
import signal
import socket
import sys
import threading
import time

INTERVAL = 0.02
# Seconds. The kernel sends a lost SYN again after 1 s; on a busy machine that happens without anybody's death.
PATIENCE = 5


def is_answered(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=PATIENCE) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return client.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a word
    address, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    failed: list[float] = []

    def ask(began: float) -> None:
        if not is_answered(address, port):
            failed.append(began)

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
    print(len(threads), len(failed), round(1000 * max(failed, default=0)))


main()
