"""A small HTTP/1.1 client: one request per connection, always with a deadline."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

DEADLINE_S = 7.0


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def request(
    host: str,
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    deadline_s: float = DEADLINE_S,
) -> Answer:
    """One request. Raises `OSError` or `http.client.HTTPException` if there is no answer."""
    connection = http.client.HTTPConnection(host, port, timeout=deadline_s)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, names, response.read())
    finally:
        connection.close()


def key_path(key: bytes) -> str:
    """The path of `key` in the default keyspace."""
    return "/kv/" + quote(key, safe="")
