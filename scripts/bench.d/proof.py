#!/usr/bin/python3
"""Shows that a packet costs no atomic read-modify-write, no lock, no allocation and no system call.

usage: proof.py PROGRAM [--static] [--verbose]

Three looks at the shipped program:

  its instructions   All code of ours that a worker's thread can reach by direct calls is disassembled, from the function that
                     DPDK starts: every `lock` prefix, exchange with memory, fence, and call to an allocator, to pthread or
                     for a system call is found, with the functions that it was inlined from. What belongs to the hand-over
                     between workers, to housekeeping's rings, to the thread's end or to a sleep that only an idle worker
                     takes has a reason; anything else fails. Panics are not followed: they end the program.
  its exceptions     A reason is only a claim: gdb counts how often each of those instructions is executed while one worker forwards.
                     One worker hands nothing over and never rests, so only housekeeping, every 1,024 turns, may show.
  its behaviour      It forwards from a virtual device without a kernel side (net_pcap, infinite_rx) for some seconds while
                     strace counts the system calls of the thread that polls, a preloaded library its calls of the allocator, and
                     the kernel the times it gave up its processor: all must be 0. They must see something of the other threads,
                     so that deaf ones are no proof.

DPDK's drivers and its memory pool are not ours and not looked at; what they do shows in the second look. Needs root for the second.
"""

import argparse
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import programs  # noqa: E402
from measure import Failed, threads  # noqa: E402

# Where a worker begins: its thread's function, and what that runs, wherever the compiler leaves it out of line.
ROOT_FUNCTION = re.compile(r"^(dpdk::lcore::run|tidegate::gateway::crew::Crew::launch::\{\{closure\}\})(::h[0-9a-f]+)?$")
# What of the thread's function is the worker's loop; the rest of it is the thread's beginning and end.
LOOP = re.compile(r"^(turn|count_turn|after|millis|now)\b")
BURST = 32  # packets, unless configured otherwise
# The passes of a burst, in their order; then what serve_all has out of line for packets of one kind.
STAGES = ("look_all", "plan_all", "serve_all", "emit_all", "open_v4", "pass_v6")
# What ends the program, or happens only while it ends.
NOT_FOLLOWED = re.compile(r"panick|panic_|_fail(ed)?\b|unwrap_failed|expect_failed|handle_alloc_error|_Unwind_|abort")
HOUSEKEEPING = "housekeeping's rings"
# Where an instruction or a call may be, and what for: by a function that it was inlined from. Calls from there are not followed.
ALLOWED = {
    r"^(hand_over|poll_worker)\b": "hand-over to another worker",
    r"^(exchange_facts|answer_requests|answer|keep_house)\b": HOUSEKEEPING,
    r"^(after|rest|sleep|yield_now)\b": "an idle worker's rest",
    r"^(finish_grow|reserve_rehash)\b": "containers that grow, which have room for all from the start (the third look counts)",
    r"^count_unsendable\b": "frames that the driver cannot send",
}
RINGS = re.compile(r"ArrayQueue")  # out of line, they are what their caller needs them for
ATOMIC = re.compile(r"^(lock\b|mfence\b|xchg\s.*\(|cmpxchg|xadd)")
FORBIDDEN = re.compile(r"malloc|calloc|realloc|memalign|(?<!::)\bfree\b|__rust_(no_)?(de|re)?alloc|__rdl_|pthread_|\bsyscall\b|sched_yield|nanosleep|futex|\b(write|read|poll|mmap|munmap)@")
LINE = re.compile(r"^\s*([0-9a-f]+):\s+(.*)$")
TARGET = re.compile(r"^(?:notrack )?(?:bnd )?(?:call|jmp|j[a-z]+)\s+([0-9a-f]+) <")
EXTERNAL = re.compile(r"<([^>@]+@[^>]*)>")


@dataclass
class Function:
    name: str
    lines: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class Found:
    """An instruction or call that no packet should take."""

    function: str
    address: int
    what: str
    chain: list[str]  # the functions that it was inlined from, innermost first
    reason: str | None  # why it may be there
    stages: list[str]  # whose calls lead there
    path: list[str] = field(default_factory=list)  # the functions called on the way there, with where each call was inlined from


def disassemble(program: Path) -> dict[int, Function]:
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", "--demangle", str(program)], check=True, capture_output=True, text=True).stdout
    functions: dict[int, Function] = {}
    now = Function("")
    for line in text.splitlines():
        if line.endswith(">:") and line[:1] == "0":
            address, _, name = line.partition(" ")
            now = functions[int(address, 16)] = Function(name[1:-2])
        elif found := LINE.match(line):
            now.lines.append((int(found[1], 16), found[2]))
    return functions


def offends(text: str, functions: dict[int, Function]) -> str | None:
    if ATOMIC.match(text):
        return re.split(r"\s+#", text)[0]
    if re.match(r"(?:bnd )?(call|jmp)\b", text):
        target = TARGET.match(text)
        called = functions.get(int(target[1], 16)) if target else None
        name = called.name if called else (EXTERNAL.search(text) or ["", ""])[1]
        if FORBIDDEN.search(name):
            return f"call {name}"
    return "syscall" if text.startswith("syscall") else None


def chain_of(program: Path, addresses: list[int]) -> dict[int, list[str]]:
    """The functions that each instruction was inlined from, by addr2line."""
    if not addresses:
        return {}
    given = "\n".join(hex(address) for address in addresses)
    text = subprocess.run(["addr2line", "-e", str(program), "-a", "-i", "-f", "-C"], input=given, check=True, capture_output=True, text=True).stdout
    chains: dict[int, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("0x"):
            lines = chains[int(line, 16)] = []
        else:
            lines.append(line)
    return {address: lines[::2] for address, lines in chains.items()}


class Walk:
    """All that can be reached from the worker's loop by direct calls."""

    def __init__(self, program: Path):
        self.program = program
        self.functions = disassemble(program)
        self.calls: dict[int, set[int]] = {}
        self.found: list[Found] = []
        self.came_from: dict[int, tuple[int, list[str]]] = {}
        roots = [address for address, function in self.functions.items() if ROOT_FUNCTION.match(function.name)]
        if not roots:
            raise Failed("dpdk::lcore::run is not in the program: was it stripped, or does a worker begin elsewhere now?")
        self.visit(roots, lambda chain: any(LOOP.match(one) for one in chain))
        while waiting := {called for own in self.calls.values() for called in own} - set(self.calls):
            self.visit(sorted(waiting), lambda chain: True)

    def visit(self, addresses: list[int], is_wanted) -> None:
        """Looks at functions, as far as what is in them was inlined from something wanted."""
        sites = {at: (function, text) for function in addresses for at, text in self.functions[function].lines if self.is_site(text)}
        chains = chain_of(self.program, sorted(sites))
        self.calls.update({address: set() for address in addresses})
        for at, (function, text) in sites.items():
            chain = chains.get(at, [])
            if not is_wanted(chain):
                continue
            names = [*chain, self.functions[function].name]
            if RINGS.search(names[-1]):
                names += [self.came_from[function][1][-1], *self.came_from[function][1]]
            reason = next((why for pattern, why in ALLOWED.items() if any(re.search(pattern, one) for one in names)), None)
            if what := offends(text, self.functions):
                self.found.append(Found(self.functions[function].name, at, what, chain, reason, [], self.path_to(function)))
            elif (reason is None or is_ours_again(chain)) and (called := self.called(text)) not in (None, function):
                self.calls[function].add(called)
                if called not in self.calls:
                    self.came_from.setdefault(called, (function, chain))

    def path_to(self, function: int) -> list[str]:
        path = []
        while function in self.came_from:
            function, chain = self.came_from[function]
            path.append(shown(chain) or self.functions[function].name)
        return path

    def called(self, text: str) -> int | None:
        target = TARGET.match(text)
        address = int(target[1], 16) if target else None
        return address if address in self.functions and not NOT_FOLLOWED.search(self.functions[address].name) else None

    def is_site(self, text: str) -> bool:
        return self.called(text) is not None or offends(text, self.functions) is not None

    def below(self, address: int) -> set[int]:
        seen, waiting = {address}, [address]
        while waiting:
            new = self.calls[waiting.pop()] - seen
            seen |= new
            waiting += new
        return seen


def is_ours_again(chain: list[str]) -> bool:
    """Whether a call from an exempted place goes on to packets all the same: housekeeping is more than its rings."""
    return any(re.match(r"(keep_house|poll_worker)\b", one) for one in chain)


def shown(chain: list[str]) -> str:
    return " < ".join(re.sub("<.*", "", name) for name in chain)


def look_at_instructions(program: Path) -> tuple[list[Found], dict[str, int], int]:
    """What was found, how many functions each stage consists of, and where the first stage begins: once a burst."""
    walk = Walk(program)
    sizes, first = {"all": len(walk.calls)}, 0
    for stage in STAGES:
        own = [address for address in walk.calls if re.search(rf"::{stage}(::h[0-9a-f]+)?$", walk.functions[address].name)]
        if not own:
            raise Failed(f"no worker reaches {stage}: name the stages of now in {Path(__file__).name}")
        first = first or own[0]
        below = {walk.functions[address].name for address in walk.below(own[0])}
        sizes[stage] = len(below)
        for one in walk.found:
            one.stages += [stage] if one.function in below else []
    return sorted(walk.found, key=lambda one: one.address), sizes, first


def polling_thread(process: int, seconds: float = 0.5) -> int:
    before = threads(process)
    time.sleep(seconds)
    return max(threads(process).items(), key=lambda item: item[1] - before.get(item[0], 0))[0]


def given_up(process: int, thread: int) -> int:
    text = Path(f"/proc/{process}/task/{thread}/status").read_text()
    return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE)[1])


def system_calls(thread: int, seconds: float) -> list[str]:
    """What strace sees of a thread."""
    command = ["timeout", "--signal=INT", str(seconds), "strace", "-qq", "-p", str(thread)]
    lines = subprocess.run(command, capture_output=True, text=True).stderr.splitlines()
    if any("ptrace" in line and "perm" in line.lower() for line in lines):
        raise Failed(f"strace may not trace: {lines[0]}")
    return [line for line in lines if re.match(r"(\[pid\s+\d+\] )?\w+\(", line)]


class Allocations:
    """What each thread of a program asks of the allocator, by a library that is loaded before the allocator."""

    def __init__(self, directory: Path):
        self.table, library = directory / "allocations", directory / "allocations.so"
        self.table.write_bytes(bytes(4096))
        source = Path(__file__).resolve().parent / "allocations.c"
        flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-fno-builtin", "-shared", "-fPIC"]
        subprocess.run([os.environ.get("CC", "cc"), *flags, str(source), "-o", str(library)], check=True)
        self.environment = {"LD_PRELOAD": str(library), "ALLOCATIONS": str(self.table)}

    def calls(self) -> dict[int, int]:
        pairs = struct.iter_unpack("<QQ", self.table.read_bytes())
        return {thread: calls for thread, calls in pairs if thread}


def look_at_behaviour(program: Path, seconds: float = 3) -> dict[str, int]:
    with tempfile.TemporaryDirectory(prefix="tidegate-proof-") as directory:
        site = programs.Site(Path(directory), program, None)
        allocations = Allocations(Path(directory))
        with site.start("nat", environment=allocations.environment) as running:
            running.wait_for_packets()
            process = running.process.pid
            thread = polling_thread(process)
            packets, switches, before = running.telemetry.received(), given_up(process, thread), allocations.calls()
            time.sleep(seconds)
            packets, switches = running.telemetry.received() - packets, given_up(process, thread) - switches
            after = allocations.calls()
            calls = system_calls(thread, seconds)
            others = sum(len(system_calls(other, 1)) for other in threads(process) if other != thread)
    own = after.pop(thread, 0) - before.pop(thread, 0)
    if packets == 0 or others == 0 or sum(after.values()) == 0:
        seen = f"{others} system calls and {sum(after.values())} allocations of the other threads were seen"
        raise Failed(f"{packets} packets came, {seen}: that proves nothing")
    return {
        "packets": packets,
        "allocations": own,
        "system_calls": len(calls),
        "voluntary_switches": switches,
        "system_calls_of_others": others,
        "allocations_of_others": sum(after.values()),
    }


def look_at_exceptions(program: Path, found: list[Found], burst: int, seconds: float = 3) -> dict:
    """How often what is there for a reason is executed all the same, by one worker that forwards."""
    watched = [one for one in found if one.reason]
    with tempfile.TemporaryDirectory(prefix="tidegate-proof-") as directory:
        with programs.Site(Path(directory), program, None).start("nat") as running:
            running.wait_for_packets()
            process = running.process.pid
            maps = Path(f"/proc/{process}/maps").read_text().splitlines()
            base = min(int(line.split("-")[0], 16) for line in maps if line.endswith(str(program)))
            command = ["gdb", "-q", "-batch", "-nx", "-p", str(process)]
            for number, address in enumerate([*(one.address for one in watched), burst], 1):
                command += ["-ex", f"break *{base + address:#x}", "-ex", f"ignore {number} 1000000000"]
            command += ["-ex", "continue", "-ex", "info breakpoints", "-ex", "detach"]
            gdb = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            time.sleep(seconds + 2)  # it reads symbols first
            gdb.send_signal(signal.SIGINT)
            said = gdb.communicate(timeout=60)[0]
    hits = {number: 0 for number in range(1, len(watched) + 2)}
    table = said[said.rfind("Num     Type") :]
    if table.count(" breakpoint ") != len(hits):
        raise Failed(f"gdb set {table.count(' breakpoint ')} of {len(hits)} breakpoints:\n{said[-1500:]}")
    number = 0
    for line in table.splitlines():
        if row := re.match(r"(\d+)\s+breakpoint ", line):
            number = int(row[1])
        elif hit := re.search(r"already hit (\d+) time", line):
            hits[number] = int(hit[1])
    # Counted by the same breakpoints, not by DPDK: gdb takes its time before it has set them. net_pcap fills each burst.
    packets = hits[len(hits)] * BURST
    housekeeping = sum(hits[n] for n, one in enumerate(watched, 1) if one.reason == HOUSEKEEPING)
    executed = [(hits[n], one) for n, one in enumerate(watched, 1) if hits[n] and one.reason != HOUSEKEEPING]
    # Housekeeping passes by its rings each time: without a hit there, nothing was counted at all.
    if not packets or not housekeeping:
        raise Failed(f"gdb counted {housekeeping} instructions of housekeeping in {packets} packets: that proves nothing")
    return {"watched_packets": packets, "executed": executed, "housekeeping": housekeeping}


def prove(program: Path, static_only: bool = False, verbose: bool = False) -> dict:
    """All looks; `holds` says whether a packet costs none of it, `a_packet` how much it costs."""
    found, sizes, burst = look_at_instructions(program)
    wrong = [one for one in found if one.reason is None]
    print(f"{sizes['all']} functions that a worker can reach: " + ", ".join(f"{name} {sizes[name]}" for name in STAGES))
    for one in found if verbose else wrong:
        print(f"  {one.address:x} {one.what} in {one.function}")
        print(f"      in {shown(one.chain)}; {one.reason or 'NO REASON' + ''.join(' ' + s for s in one.stages)}")
        print(*(f"      called from {step}" for step in one.path), sep="\n")
    reasons = {why: sum(one.reason == why for one in found) for why in sorted({one.reason for one in found if one.reason})}
    print(f"atomics, locks, allocations and system calls in them: {len(wrong)} without a reason; with one:")
    print(*(f"  {count} of {why}" for why, count in reasons.items()), sep="\n")
    result: dict = {"functions": sizes["all"], "instructions": len(wrong), "with_reason": reasons, "a_packet": float(len(wrong))}
    if static_only:
        return result | {"holds": not wrong}
    seen = look_at_exceptions(program, found, burst)
    executed = seen.pop("executed")
    result["executed_a_packet"] = sum(hits for hits, _ in executed) / seen["watched_packets"]
    print(f"of those with a reason, executed in {seen['watched_packets']:,} packets: {seen['housekeeping']} of housekeeping's; and")
    for hits, one in executed:
        print(f"  {hits} times, once in {seen['watched_packets'] / hits:.1f} packets: {one.what} in {shown(one.chain)}")
    print("  none other" if not executed else f"  together {result['executed_a_packet']:.4f} a packet")
    result |= seen | look_at_behaviour(program)
    print(f"the thread that polls: {result['system_calls']} system calls, {result['allocations']} calls of the allocator, gave up")
    print(f"  its processor {result['voluntary_switches']} times, in {result['packets']:,} packets; the other threads:")
    print(f"  {result['system_calls_of_others']} system calls, {result['allocations_of_others']} calls of the allocator")
    behaved = sum(result[key] for key in ("allocations", "system_calls", "voluntary_switches"))
    result["a_packet"] += result["executed_a_packet"] + behaved / result["packets"]
    result["holds"] = not wrong and not executed and behaved == 0
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path, help="the release program, not stripped")
    parser.add_argument("--static", action="store_true", help="only the instructions: needs neither root nor DPDK")
    parser.add_argument("--verbose", action="store_true", help="name also what is there for a reason")
    parser.add_argument("--json", action="store_true", help="print the result as JSON, too")
    chosen = parser.parse_args()
    if os.geteuid() != 0 and not chosen.static:
        print("this reserves memory for DPDK and traces a process, which needs root", file=sys.stderr)
        return 1
    try:
        result = prove(chosen.program.resolve(), chosen.static, chosen.verbose)
    except (Failed, OSError, subprocess.CalledProcessError) as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    if chosen.json:
        print(json.dumps(result))
    if not result["holds"]:
        print("FAILED: a packet must cost none of these; see above", file=sys.stderr)
        return 1
    print("OK: a packet costs no atomic read-modify-write, no lock, no allocation, no system call")
    return 0


if __name__ == "__main__":
    sys.exit(main())
