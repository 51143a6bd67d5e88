"""The programs that are compared, on the same frames: testpmd in three modes, the C loop, and Tidegate in its modes."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import frames
from measure import Failed, Telemetry, cost

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TESTPMD = ("io", "macswap", "5tswap")
C_LOOP = "c_loop"
TIDEGATE = ("nat", "full_nat", "dsr")
ALL = (*TESTPMD, C_LOOP, *TIDEGATE)
FLOOR, PEER = "io", "5tswap"
MBUFS = 32768  # the same for all programs: a bigger pool costs more cache


def label(name: str) -> str:
    return f"testpmd {name}" if name in TESTPMD else name if name == C_LOOP else f"tidegate {name}"


def build() -> Path:
    """Tidegate's program."""
    if "TIDEGATE" in os.environ:
        return Path(os.environ["TIDEGATE"]).resolve()
    command = ["cargo", "build", "--release", "--package", "tidegate", "--bin", "tidegate"]
    subprocess.run(command, cwd=ROOT, check=True)
    return (ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release/tidegate").resolve()


def build_c_loop(to: Path) -> Path:
    """The C loop, for the same processors as Tidegate."""
    flags = [subprocess.run(["pkg-config", what, "libdpdk"], check=True, capture_output=True, text=True).stdout.split() for what in ("--cflags", "--libs")]
    program = to / C_LOOP
    includes = [flag for flag in flags[0] if not flag.startswith("-march=")]
    command = [os.environ.get("CC", "cc"), "-O3", "-march=x86-64-v3", "-Wall", "-Wextra", "-Werror", *includes, str(HERE / "c_loop.c")]
    subprocess.run([*command, "-o", str(program), *flags[1]], check=True)
    return program


class Running:
    """A program that forwards; it ends with the block."""

    def __init__(self, command: list[str], log: Path, prefix: str | None = None, environment: dict[str, str] | None = None):
        known = os.environ | (environment or {})
        with log.open("wb") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=out, env=known)
        self.log = log
        self.prefix = prefix or f"tidegate-{self.process.pid}"
        self.telemetry = Telemetry(self.prefix)

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self.telemetry.close()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()
        shutil.rmtree(f"/var/run/dpdk/{self.prefix}", ignore_errors=True)  # testpmd leaves it

    def alive(self) -> bool:
        return self.process.poll() is None

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]

    def wait_for_packets(self) -> None:
        """Returns when packets come in."""
        try:
            self.telemetry.connect(self.alive)
            self.telemetry.wait()
        except (Failed, OSError) as error:
            raise Failed(f"{error}\n{self.said()}") from None

    def cost(self, seconds: float) -> float:
        """Nanoseconds a packet."""
        self.wait_for_packets()
        try:
            return cost(self.process.pid, self.telemetry, 0.3, seconds)
        except (Failed, OSError) as error:
            raise Failed(f"{error}\n{self.said()}") from None


class Site:
    """A directory with the frames, and the programs that forward them."""

    def __init__(self, work: Path, tidegate: Path | None, c_loop: Path | None):
        self.work, self.tidegate, self.c_loop = work, tidegate, c_loop
        self.frames = work / "frames.pcap"
        frames.write(self.frames)
        # The last processor polls, the others do the rest.
        self.processors = sorted(os.sched_getaffinity(0))
        if len(self.processors) < 2:
            raise Failed("this needs two processors: one that polls and one for the rest")

    def start(self, name: str, output: str = "infinite_rx=1", environment: dict[str, str] | None = None) -> Running:
        log = self.work / f"{name}.log"
        if name in TIDEGATE:
            file = self.work / f"{name}.yaml"
            file.write_text(configuration(name, self.frames, output, self.work, self.processors[-1]))
            return Running([str(self.tidegate), "run", "-c", str(file)], log, environment=environment)
        prefix = f"tidegate-bench-{os.getpid()}"
        eal = ["--lcores", f"0@{self.processors[0]},1@{self.processors[-1]}", "--no-pci", "--iova-mode=va"]
        eal += ["--file-prefix", prefix, *memory(), f"--vdev=net_pcap0,rx_pcap={self.frames},{output}"]
        if name == C_LOOP:
            backends = [f"{address}={mac.hex(':')}" for address, mac in frames.BACKENDS.items()]
            service, port = frames.SERVICE
            return Running([str(self.c_loop), *eal, "--", str(service), str(port), "8080", str(frames.COUNT), *backends], log, prefix)
        command = ["dpdk-testpmd", *eal, "--log-level=lib.eal:debug"]
        command += ["--", "-i", "--auto-start", f"--forward-mode={name}", "--no-flush-rx"]
        command += [f"--total-num-mbufs={MBUFS}", "--port-topology=loop"]
        return Running(command, log, prefix)

    def check(self, name: str) -> None:
        """Forwards the frames once into a file and looks at each."""
        out = self.work / f"{name}.pcap"
        with self.start(name, f"tx_pcap={out}") as running:
            deadline = time.monotonic() + 30
            while running.alive() and time.monotonic() < deadline:
                if out.exists() and out.stat().st_size >= frames.FILE_SIZE:
                    break
                time.sleep(0.1)
        mode = "nat" if name == C_LOOP else name
        wrong = frames.check(mode, out) if out.exists() else "nothing came out"
        if wrong:
            raise Failed(f"{name}: {wrong}\n{running.said()}")

    def tsc_hertz(self) -> float:
        found = re.search(r"TSC frequency is ~(\d+) KHz", (self.work / f"{FLOOR}.log").read_text(errors="replace"))
        if not found:
            raise Failed("testpmd did not say the TSC's frequency")
        return float(found.group(1)) * 1000


def memory() -> list[str]:
    total = re.search(r"HugePages_Free:\s+(\d+)", Path("/proc/meminfo").read_text())
    if total and int(total.group(1)) >= 256:
        return ["--in-memory", "-m", "256"]
    return ["--no-huge", "--no-shconf", "-m", "256"]


def configuration(mode: str, source: Path, output: str, work: Path, processor: int) -> str:
    port = frames.SERVICE[1] if mode == "dsr" else 8080
    neighbours = ", ".join(
        f'{{ address: {address}, mac: "{mac.hex(":")}" }}' for address, mac in frames.BACKENDS.items()
    )
    backends = ", ".join(f'{{ address: "{address}:{port}" }}' for address in frames.BACKENDS)
    return f"""version: 1
eal: {{ telemetry: true }}
workers: {{ lcores: [{processor}], idle: busy, mbufs: {MBUFS}, flows: {frames.COUNT} }}
control: {{ socket: {work}/tidegate.sock, seed: 000102030405060708090a0b0c0d0e0f }}
ports:
  - name: wire
    device: "net_pcap0,rx_pcap={source},{output}"
    addresses: [{frames.GATEWAY}/16]
    neighbours: [{neighbours}]
    mtu: 1500
# The frames are from the middle of their connections: the first of each opens the flow.
profiles: [{{ name: bench, loose_initiation: true }}]
pools: [{{ name: all, backends: [{backends}] }}]
virtual_servers:
  - name: bench
    address: {frames.SERVICE[0]}
    port: {frames.SERVICE[1]}
    protocol: tcp
    type: fastl4
    mode: {mode}
    profile: bench
    pool: all
"""
