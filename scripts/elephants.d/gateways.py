"""What stands between clients and backends: Tidegate, or HAProxy."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from network import PATIENCE, Network
from scene import BACKENDS, PORT, VIP, Failed, address


@contextmanager
def tidegate(network: Network, directory: Path, method: str, program: Path) -> Iterator[None]:
    """Tidegate with one pool of this method, in `nat`, on af_packet."""
    socket = directory / "tidegate.sock"
    (directory / "tidegate.yaml").write_text(
        f"""version: 1
control: {{ socket: {socket} }}
ports:
  - {{ name: clients, device: "net_af_packet0,iface=clients", addresses: [10.10.1.1/24], facing: clients, mtu: 1500 }}
  - {{ name: backends, device: "net_af_packet1,iface=backends", addresses: [10.10.2.1/24], facing: backends, mtu: 1500 }}
pools:
  - name: elephants
    method: {method}
    backends:
{"".join(f'      - {{ address: "{address(number)}:{PORT}" }}{chr(10)}' for number in range(BACKENDS))}
virtual_servers:
  - {{ name: elephants, address: {VIP}, port: {PORT}, protocol: tcp, type: fastl4, mode: nat, pool: elephants }}
"""
    )
    asked = [program, "worker", "list", "--socket", socket]

    def answers() -> bool:
        return subprocess.run(asked, capture_output=True).returncode == 0

    with running(network.command("gateway", program, "run", "-c", directory / "tidegate.yaml"), directory, answers):
        yield


@contextmanager
def haproxy(network: Network, directory: Path, _: str, __: object) -> Iterator[None]:
    """HAProxy as a TCP proxy with `balance leastconn`."""
    servers = "\n".join(f"    server backend{number} {address(number)}:{PORT}" for number in range(BACKENDS))
    (directory / "haproxy.cfg").write_text(
        f"""global
    maxconn 4096
defaults
    mode tcp
    timeout connect 10s
    timeout client 300s
    timeout server 300s
listen elephants
    bind {VIP}:{PORT}
    balance leastconn
{servers}
"""
    )

    def answers() -> bool:
        return "LISTEN" in subprocess.run(network.command("gateway", "ss", "-ltn"), capture_output=True, text=True).stdout

    with running(network.command("gateway", "haproxy", "-db", "-f", directory / "haproxy.cfg"), directory, answers):
        yield


@contextmanager
def running(command: list[str], directory: Path, answers: Callable[[], bool]) -> Iterator[None]:
    """A gateway, from when it answers to its end."""
    with (directory / "gateway.log").open("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + PATIENCE
            while not answers():
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise Failed(f"the gateway did not start:\n{log.read()[-3000:]}")
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            process.wait(PATIENCE)
