"""The two ends of a scene, each a program in a namespace of its own.

usage: traffic.py backends SCENE      prints `ready`, then, when the scene is over, what the backends have seen as JSON, and goes on
       traffic.py clients SCENE       keeps the scene's transfers under way
Both go on until they are stopped.
SCENE: a scene.Scene as JSON

A transfer is eight bytes that say how many follow, and those; the answer is four, their CRC-32.
"""

import asyncio
import contextlib
import json
import random
import socket
import struct
import sys
import time
import zlib

from scene import CONCURRENT, IDLE, PORT, PROGRAMS, VIP, Scene, Sizes, address

# Bytes that are read and written at once, and about as many that wait in a socket: little beside a transfer.
PIECE = 16_384
# Seconds of its capacity that a backend may have saved up, as when it did not get the processor.
SAVED = 0.25
PATTERN = random.Random(1).randbytes(1 << 16)


class Backend:
    """Takes so many bytes a second from all its connections together, a piece of each in turn."""

    def __init__(self, capacity: float):
        self.capacity, self.room, self.then = capacity, 0.0, time.monotonic()
        self.turn = asyncio.Lock()  # whoever waits stands in a queue
        self.open, self.since = 0, time.monotonic()
        self.bytes, self.connection_seconds, self.completed = 0, 0.0, 0

    async def take(self, count: int) -> None:
        """Returns when it has taken so many bytes."""
        async with self.turn:
            now = time.monotonic()
            self.room = min(self.room + (now - self.then) * self.capacity, self.capacity * SAVED)
            self.then = now
            self.room -= count
            if self.room < 0:
                await asyncio.sleep(-self.room / self.capacity)
        self.bytes += count

    def settle(self) -> None:
        now = time.monotonic()
        self.connection_seconds += self.open * (now - self.since)
        self.since = now

    def change(self, by: int) -> None:
        self.settle()
        self.open += by

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.change(1)
        try:
            while header := await reader.read(8):
                header += await reader.readexactly(8 - len(header)) if len(header) < 8 else b""
                (left,), crc = struct.unpack("!Q", header), 0
                while left:
                    piece = await reader.read(min(left, PIECE))
                    if not piece:
                        raise ConnectionError("a transfer broke off")
                    left, crc = left - len(piece), zlib.crc32(piece, crc)
                    await self.take(len(piece))
                writer.write(struct.pack("!I", crc))
                await writer.drain()
                self.completed += 1
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client says so, if it was not its own end
        finally:
            self.change(-1)
            writer.close()


def listening(address: str) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE)
    listener.bind((address, PORT))
    listener.listen(1024)
    return listener


async def backends(scene: Scene) -> None:
    every = [Backend(capacity) for capacity in scene.capacities()]
    for number, backend in enumerate(every):
        await asyncio.start_server(backend.serve, sock=listening(address(number)), limit=PIECE)
    print("ready", flush=True)
    await asyncio.sleep(scene.warm_up)

    def seen() -> list[tuple[int, float, int]]:
        for backend in every:
            backend.settle()
        return [(backend.bytes, backend.connection_seconds, backend.completed) for backend in every]

    before, began = seen(), time.monotonic()
    await asyncio.sleep(scene.seconds)
    after, seconds = seen(), time.monotonic() - began
    counted = [tuple(now - then for now, then in zip(*pair)) for pair in zip(after, before)]
    sent, open_, completed = zip(*counted)
    print(json.dumps({"seconds": seconds, "bytes": sent, "connection_seconds": open_, "completed": sum(completed)}), flush=True)
    await asyncio.Event().wait()  # for the end: the clients are not to see this one


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader, self.writer, self.transfers, self.idle_since = reader, writer, 0, 0.0

    @classmethod
    async def open(cls) -> "Connection":
        end = socket.socket()
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE)
        end.setblocking(False)
        await asyncio.get_running_loop().sock_connect(end, (VIP, PORT))
        reader, writer = await asyncio.open_connection(sock=end)
        writer.transport.set_write_buffer_limits(high=PIECE)
        return cls(reader, writer)

    async def transfer(self, size: int) -> None:
        self.transfers += 1
        crc, offset = 0, random.randrange(len(PATTERN))
        self.writer.write(struct.pack("!Q", size))
        while size:
            piece = PATTERN[offset : offset + min(size, PIECE)]
            offset = (offset + len(piece)) % len(PATTERN)
            size, crc = size - len(piece), zlib.crc32(piece, crc)
            self.writer.write(piece)
            await self.writer.drain()
        (answer,) = struct.unpack("!I", await self.reader.readexactly(4))
        if answer != crc:
            raise RuntimeError("what arrived is another transfer than what was sent")

    def close(self) -> None:
        self.writer.close()


async def one_after_another(scene: Scene, sizes: Sizes, idle: list[list[Connection]]) -> None:
    """Transfers of programs that take turns by chance; each keeps its connections."""
    while True:
        kept = idle[sizes.random.randrange(PROGRAMS)]
        while kept and time.monotonic() - kept[0].idle_since > IDLE:
            kept.pop(0).close()
        connection = kept.pop() if kept else await Connection.open()
        await connection.transfer(sizes.one())
        if connection.transfers >= scene.transfers:
            connection.close()
        else:
            connection.idle_since = time.monotonic()
            kept.append(connection)


async def clients(scene: Scene) -> None:
    sizes, idle = Sizes(scene.capacity, 7), [[] for _ in range(PROGRAMS)]
    async with asyncio.TaskGroup() as group:
        for _ in range(CONCURRENT):
            group.create_task(one_after_another(scene, sizes, idle))


if __name__ == "__main__":
    role = {"backends": backends, "clients": clients}[sys.argv[1]]
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(role(Scene(**json.loads(sys.argv[2]))))
