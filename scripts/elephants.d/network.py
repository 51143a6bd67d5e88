"""Three namespaces in a row: clients, the gateway, backends."""

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

from scene import BACKENDS, VIP, Failed, Scene, address

TRAFFIC = Path(__file__).with_name("traffic.py")
# Longer than the start of a program takes on a machine that has much else to do.
PATIENCE = 60.0


class Network:
    """`clients ── gateway ── backends`, there as long as it is entered."""

    def __init__(self, kernel_forwards: bool):
        self.kernel_forwards = kernel_forwards
        self.names = {name: f"tidegate-test-{os.getpid()}-elephants-{name}" for name in ("clients", "gateway", "backends")}

    def command(self, name: str, *words: object) -> list[str]:
        """The words of a command in a namespace."""
        return ["ip", "netns", "exec", self.names[name], *map(str, words)]

    def run(self, name: str, line: str) -> None:
        done = subprocess.run(self.command(name, *line.split()), capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"{line}: {done.stderr.strip() or done.stdout.strip()}")

    def __enter__(self) -> "Network":
        try:
            self.build()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def build(self) -> None:
        for name in self.names.values():
            subprocess.run(["ip", "netns", "add", name], check=True)
        for name in self.names:
            self.run(name, "ip link set lo up")
        for name, side in (("clients", 1), ("backends", 2)):
            self.run(name, f"ip link add eth0 type veth peer name {name} netns {self.names['gateway']}")
            # No frame larger than a packet: af_packet takes none, and HAProxy is to have it no easier.
            self.run(name, "ethtool -K eth0 tso off gso off gro off")
            self.run("gateway", f"ethtool -K {name} tso off gso off gro off")
            self.run(name, "ip link set eth0 up")
            self.run("gateway", f"sysctl -qw net.ipv6.conf.{name}.disable_ipv6=1")
            self.run("gateway", f"ip link set {name} up")
            if self.kernel_forwards:
                self.run("gateway", f"ip address add 10.10.{side}.1/24 dev {name}")
        self.run("clients", "ip address add 10.10.1.100/24 dev eth0")
        self.run("clients", f"ip route add {VIP}/32 via 10.10.1.1")
        for number in range(BACKENDS):
            self.run("backends", f"ip address add {address(number)}/24 dev eth0")
        self.run("backends", "ip route add default via 10.10.2.1")
        if self.kernel_forwards:
            self.run("gateway", f"ip address add {VIP}/32 dev lo")

    def remove(self) -> None:
        for name in self.names.values():
            found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True)
            for process in found.stdout.split():
                subprocess.run(["kill", "-KILL", process], capture_output=True)
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)

    def play(self, scene: Scene, directory: Path) -> dict:
        """Lets the scene happen; what the backends have seen."""
        words = [sys.executable, TRAFFIC]
        text = json.dumps(scene.asdict())
        backends = subprocess.Popen(self.command("backends", *words, "backends", text), stdout=subprocess.PIPE, text=True)
        if backends.stdout.readline() != "ready\n":
            raise Failed("the backends did not start")
        with (directory / "clients.log").open("w+") as log:
            clients = subprocess.Popen(self.command("clients", *words, "clients", text), stderr=log)
            try:
                deadline = time.monotonic() + scene.warm_up + scene.seconds + PATIENCE
                while not select.select([backends.stdout], [], [], 0.2)[0]:
                    if time.monotonic() > deadline:
                        raise Failed("the backends do not say what they have seen")
                    if clients.poll() is not None:
                        log.seek(0)
                        raise Failed(f"the clients ended before the scene:\n{log.read()[-3000:]}")
                return json.loads(backends.stdout.readline())
            finally:
                for process in (clients, backends):
                    process.kill()
                    process.wait()
