"""The frames that the benchmark's programs forward, and whether what came out is right."""

import struct
from ipaddress import IPv4Address
from pathlib import Path

COUNT = 4096
PORT_MAC = bytes.fromhex("027063617000")  # what net_pcap gives its first device
GATEWAY = IPv4Address("10.0.0.1")
SERVICE = (IPv4Address("198.51.100.10"), 80)
BACKENDS = {IPv4Address(f"10.0.0.{10 + n}"): bytes.fromhex(f"02000000000{n}") for n in (1, 2, 3)}
CLIENT_MAC = bytes.fromhex("0200000000cc")
CLIENTS = int(IPv4Address("10.0.16.0"))
FIRST_PORT = 1024

FILE_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)  # Ethernet, microseconds
FILE_SIZE = len(FILE_HEADER) + COUNT * (16 + 54)  # what comes out at least: padding may be cut


def checksum(data: bytes) -> int:
    """RFC 1071; 0 over data that contains its right checksum."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_header(source: bytes, destination: bytes, length: int) -> bytes:
    return source + destination + struct.pack("!HH", 6, length)


def frame(number: int) -> bytes:
    """60 bytes: an acknowledgement in the middle of a TCP connection, a connection of its own for each number."""
    source, destination = IPv4Address(CLIENTS + number).packed, SERVICE[0].packed
    tcp = struct.pack("!HHIIBBHHH", FIRST_PORT + number, SERVICE[1], 1000 + number, 1, 5 << 4, 0x10, 512, 0, 0)
    tcp_sum = checksum(pseudo_header(source, destination, len(tcp)) + tcp)
    tcp = tcp[:16] + struct.pack("!H", tcp_sum) + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, number, 0x4000, 64, 6, 0) + source + destination
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    return PORT_MAC + CLIENT_MAC + b"\x08\x00" + ip + tcp + bytes(6)


def write(file: Path) -> None:
    with file.open("wb") as out:
        out.write(FILE_HEADER)
        for number in range(COUNT):
            data = frame(number)
            out.write(struct.pack("<IIII", 0, number, len(data), len(data)) + data)


def read(file: Path) -> list[bytes]:
    data, frames, offset = file.read_bytes(), [], 24
    while offset + 16 <= len(data):
        length = struct.unpack_from("<I", data, offset + 8)[0]
        frames.append(data[offset + 16 : offset + 16 + length])
        offset += 16 + length
    return frames


def mistake(mode: str, data: bytes) -> str | None:
    """What is wrong with a forwarded frame, looking at nothing but its bytes."""
    ip, tcp = data[14:34], data[34:54]
    source, destination = IPv4Address(ip[12:16]), IPv4Address(ip[16:20])
    source_port, destination_port = struct.unpack("!HH", tcp[:4])
    if data[6:12] != PORT_MAC:
        return "the source MAC address is not the port's"
    if data[:6] not in BACKENDS.values():
        return "the destination MAC address is no backend's"
    if ip[8] not in (63, 64):
        return f"the TTL is {ip[8]}"
    if checksum(ip) != 0:
        return "the IPv4 checksum is wrong"
    if checksum(pseudo_header(ip[12:16], ip[16:20], len(tcp)) + tcp) != 0:
        return "the TCP checksum is wrong"
    if mode == "dsr":
        return None if (destination, destination_port) == SERVICE else "dsr changed the destination"
    if BACKENDS.get(destination) != data[:6] or destination_port != 8080:
        return f"the destination is {destination}:{destination_port}"
    if mode == "full_nat":
        return None if source == GATEWAY else f"the source is {source}"
    number = int(source) - CLIENTS
    return None if source_port == FIRST_PORT + number else f"nat changed the source to {source}:{source_port}"


def check(mode: str, file: Path) -> str | None:
    """What is wrong with what a program sent; each frame must be there once."""
    frames = read(file)
    wrong = next(filter(None, (mistake(mode, data) for data in frames)), None)
    if wrong:
        return wrong
    connections = {data[26:38] for data in frames}
    if len(frames) != COUNT or len(connections) != COUNT:
        return f"{len(frames)} frames of {len(connections)} connections came out, not {COUNT}"
    if len({data[:6] for data in frames}) != len(BACKENDS):
        return "not all backends got frames"
    return None
