"""Delays the packets between nodes in network namespaces, with packet sockets.

    python3 -m proof.delay MILLISECONDS PROOF_ADDRESS LINK:LINK...

Each pair of links belongs to one node: the first link is the node's, the second leads to the bridge. A frame from a
node waits MILLISECONDS, unless it goes to the address of the proof. A frame to a node passes at once, because the link
of its sender has delayed it already. Frames carry the header with the work that is left to a network card
(`PACKET_VNET_HDR`), so this program changes no checksums and no lengths.
"""

from __future__ import annotations

import selectors
import socket
import struct
import sys
import time
from collections import deque
from contextlib import suppress

GREETING = b"delaying"
"""Printed when the program has begun to forward frames."""

ETH_P_ALL, ETH_P_IP = 0x0003, 0x0800
SOL_PACKET, PACKET_VNET_HDR = 263, 15
VNET_HEADER_BYTES = 10
ADDRESS_AT = VNET_HEADER_BYTES + 14 + 16
"""Position of the receiver's IPv4 address in an Ethernet frame."""
FRAME_BYTES = 1 << 17
BURST = 64
"""How many frames are read from one link before the next link and the due frames have their turn."""


def main(arguments: list[str]) -> None:
    """Forwards frames until it is killed."""
    delay_s, proof = int(arguments[0]) / 1000, socket.inet_aton(arguments[1])
    waiting: deque[tuple[float, socket.socket, bytes]] = deque()
    with selectors.DefaultSelector() as selector:
        for pair in arguments[2:]:
            node, bridge = (_open(link) for link in pair.split(":"))
            selector.register(node, selectors.EVENT_READ, (node, bridge, delay_s))
            selector.register(bridge, selectors.EVENT_READ, (bridge, node, 0.0))
        print(GREETING.decode(), flush=True)
        while True:
            patience = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
            for key, _ in selector.select(patience):
                source, target, wait_s = key.data
                for frame in _received(source):
                    if wait_s and not _is_for(frame, proof):
                        waiting.append((time.monotonic() + wait_s, target, frame))
                    else:
                        _pass_on(target, frame)
            while waiting and waiting[0][0] <= time.monotonic():
                _, target, frame = waiting.popleft()
                _pass_on(target, frame)


def _open(link: str) -> socket.socket:
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    raw.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    raw.bind((link, ETH_P_ALL))
    raw.setblocking(False)
    return raw


def _received(source: socket.socket) -> list[bytes]:
    frames: list[bytes] = []
    with suppress(BlockingIOError, OSError):
        while len(frames) < BURST:
            frame, address = source.recvfrom(FRAME_BYTES)
            if address[2] != socket.PACKET_OUTGOING:
                frames.append(frame)
    return frames


def _pass_on(target: socket.socket, frame: bytes) -> None:
    # A cable that was taken away, or is full, loses the frame, as real ones do.
    with suppress(OSError):
        target.send(frame)


def _is_for(frame: bytes, address: bytes) -> bool:
    (kind,) = struct.unpack_from(">H", frame, VNET_HEADER_BYTES + 12)
    return kind == ETH_P_IP and frame[ADDRESS_AT : ADDRESS_AT + 4] == address


if __name__ == "__main__":
    main(sys.argv[1:])
