"""One Python library at work: `python_program.py LIBRARY ADDRESSES SECONDS`.

It runs in the virtual environment of the library, so it imports nothing of the proofs. Prints one line of JSON when it
is connected, and one with what happened at the end. `node_program.mjs` does the same in JavaScript.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from typing import Any

KEYS = 24
PAUSE_S = 0.004
NEXT_ADDRESS_S = 0.5
"""A program that knows single addresses goes to the next one after an error, or after so long without an answer."""
GIVE_UP_S = 5.0
WRONG_MAX = 5


class OneOf:
    """Clients of single addresses, of which one is used until it fails."""

    def __init__(self, clients: list[Any]) -> None:
        self._clients = clients
        self._at = 0

    async def call(self, name: str, *arguments: Any) -> Any:
        """One request to the current address."""
        try:
            async with asyncio.timeout(NEXT_ADDRESS_S):
                return await self._clients[self._at].call(name, *arguments)
        except BaseException:
            self._at = (self._at + 1) % len(self._clients)
            raise


class Direct:
    """A client with `get` and `set`, as coroutines or not."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def call(self, name: str, *arguments: Any) -> Any:
        """One request."""
        reply = getattr(self._client, name)(*arguments)
        return await reply if hasattr(reply, "__await__") else reply


class Made:
    """A client that is made at the first request, and anew after each error: it has no way to come back by itself."""

    def __init__(self, make: Any) -> None:
        self._make = make
        self._client: Any = None

    async def call(self, name: str, *arguments: Any) -> Any:
        """One request."""
        try:
            if self._client is None:
                self._client = await self._make()
            return await getattr(self._client, name)(*arguments)
        except BaseException:
            self._client = None
            raise


async def client_of(library: str, addresses: list[tuple[str, int]]) -> Any:
    """A client of the library in its default settings."""
    match library:
        case "redis-py":
            import redis

            return OneOf([Direct(redis.Redis(host=host, port=port)) for host, port in addresses])
        case "redis-py asyncio":
            import redis.asyncio

            return OneOf([Direct(redis.asyncio.Redis(host=host, port=port)) for host, port in addresses])
        case "redis-py cluster":
            import redis.cluster

            nodes = [redis.cluster.ClusterNode(host, port) for host, port in addresses]
            return Direct(redis.cluster.RedisCluster(startup_nodes=nodes))
        case "redis-py asyncio cluster":
            import redis.asyncio.cluster

            nodes = [redis.asyncio.cluster.ClusterNode(host, port) for host, port in addresses]
            return Direct(redis.asyncio.cluster.RedisCluster(startup_nodes=nodes))
        case "coredis":
            import coredis

            return OneOf([Direct(await _entered(coredis.Redis(host=host, port=port))) for host, port in addresses])
        case "coredis cluster":
            import coredis

            nodes = [{"host": host, "port": port} for host, port in addresses]
            return Direct(await _entered(coredis.RedisCluster(startup_nodes=nodes)))
        case "glide":
            import glide

            def maker(host: str, port: int) -> Any:
                settings = glide.GlideClientConfiguration([glide.NodeAddress(host, port)])
                return lambda: glide.GlideClient.create(settings)

            return OneOf([Made(maker(host, port)) for host, port in addresses])
        case "glide cluster":
            import glide

            nodes = [glide.NodeAddress(host, port) for host, port in addresses]
            return Direct(await glide.GlideClusterClient.create(glide.GlideClusterClientConfiguration(nodes)))
    raise SystemExit(f"unknown library: {library}")


async def _entered(client: Any) -> Any:
    return await client.__aenter__()


async def work(client: Any, prefix: str, seconds: float) -> dict[str, Any]:
    """Writes and reads until the time is over; returns what happened."""
    known = dict.fromkeys(range(KEYS), 0)
    maybe: dict[int, set[int]] = {number: set() for number in range(KEYS)}
    """Values of writes without an answer: each may have been done, and may show."""
    successes: list[float] = []
    errors: list[float] = []
    texts: Counter[str] = Counter()
    wrong: list[str] = []
    ends, turn = time.time() + seconds, 0
    while time.time() < ends:
        turn += 1
        number = turn % KEYS
        key = f"{prefix}:{number}"
        maybe[number].add(turn)
        try:
            async with asyncio.timeout(GIVE_UP_S):
                await client.call("set", key, str(turn))
            known[number] = turn
            maybe[number].discard(turn)
            async with asyncio.timeout(GIVE_UP_S):
                got = await client.call("get", key)
        except Exception as error:  # noqa: BLE001, libraries raise what they like, and all of it is counted
            errors.append(time.time())
            texts[f"{type(error).__name__}: {error}"[:100]] += 1
            await asyncio.sleep(PAUSE_S)
            continue
        successes.append(time.time())
        value = int(got) if got is not None else 0
        if value in maybe[number]:
            known[number] = value
        elif value != known[number] and len(wrong) < WRONG_MAX:
            wrong.append(f"{key} is {got!r}, acknowledged is {known[number]}")
        await asyncio.sleep(PAUSE_S)
    return {"successes": successes, "errors": errors, "texts": texts.most_common(3), "wrong": wrong}


async def main(library: str, listed: str, seconds: str) -> None:
    """Connects, says so, works, and says what happened."""
    addresses = [(host, int(port)) for host, _, port in (pair.partition(":") for pair in listed.split(","))]
    client = await client_of(library, addresses)
    prefix = f"{library} {addresses[0][1]}"
    for _ in range(20):
        await client.call("get", f"{prefix}:0")
    print(json.dumps({"connected": True}), flush=True)
    print(json.dumps(await work(client, prefix, float(seconds))), flush=True)
    # Some libraries wait for their dead connections; what they did is told.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
