"""What users of HTTP tripped over once."""

from __future__ import annotations

import gzip
import secrets
import socket

from proof import web
from proof.cases import Case, Open
from proof.cluster import Cluster, Node

PATIENCE_S = 5.0
HOST = b"Host: localhost\r\n"
ALLOWED = "GET, HEAD, PUT, DELETE, OPTIONS"


def _ask(
    node: Node, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> web.Answer:
    return web.request(node.host, node.http_port, method, path, body, headers)


def _is_problem(answer: web.Answer, status: int, kind: str) -> bool:
    is_problem = answer.headers.get("content-type") == "application/problem+json"
    return answer.status == status and is_problem and answer.json()["type"] == kind


def _shown(answer: web.Answer) -> str:
    return f"{answer.status} {answer.body[:120]!r}"


def _methods(cluster: Cluster) -> str:
    """One list of methods for one resource, whatever is asked."""
    node = cluster.nodes[0]
    for method in ("OPTIONS", "PATCH", "POST", "TRACE"):
        answer = _ask(node, method, "/kv/methods")
        wanted = 204 if method == "OPTIONS" else 405
        if answer.status != wanted or answer.headers.get("allow") != ALLOWED:
            return f"{method}: {answer.status}, Allow: {answer.headers.get('allow')}"
    return ""


def _method_before_key(cluster: Cluster) -> str:
    """A key that was used for another request does not hide that the method is wrong."""
    node, headers = cluster.nodes[0], {"Idempotency-Key": secrets.token_hex(8)}
    _ask(node, "POST", "/kv/used/incr", None, headers)
    answer = _ask(node, "TRACE", "/nodes", None, headers)
    return "" if answer.status == 405 else _shown(answer)


def _repeated_here(cluster: Cluster) -> str:
    return _repeated(cluster.nodes[0], cluster.nodes[0])


def _repeated_elsewhere(cluster: Cluster) -> str:
    """As behind a load balancer."""
    return _repeated(cluster.nodes[0], cluster.nodes[1])


def _repeated(first: Node, second: Node) -> str:
    path, headers = f"/kv/repeated-{second.index}", {"Idempotency-Key": secrets.token_hex(8)}
    _ask(first, "PUT", path, b"0")
    bodies = [_ask(node, "POST", f"{path}/incr?by=500", None, headers).body for node in (first, second)]
    return "" if bodies == [b"500", b"500"] else f"the answers are {bodies!r}"


def _if_none_match(cluster: Cluster) -> str:
    node, headers = cluster.nodes[0], {"If-None-Match": "*"}
    _ask(node, "DELETE", "/kv/only-new")
    created = _ask(node, "PUT", "/kv/only-new", b"1", headers)
    refused = _ask(node, "PUT", "/kv/only-new", b"2", headers)
    if created.status != 201 or not _is_problem(refused, 412, "key_exists"):
        return f"{_shown(created)}, then {_shown(refused)}"
    got = _ask(node, "GET", "/kv/only-new").body
    return "" if got == b"1" else f"the value is {got!r}"


def _parts(cluster: Cluster) -> str:
    node, text = cluster.nodes[0], b"part of a text " * 400
    _ask(node, "PUT", "/kv/parts", text, {"Content-Type": "text/plain"})
    part = _ask(node, "GET", "/kv/parts", None, {"Range": "bytes=8-13"})
    if (part.status, part.body, part.headers.get("content-range")) != (206, b"a text", f"bytes 8-13/{len(text)}"):
        return f"the part: {_shown(part)}"
    packed = _ask(node, "GET", "/kv/parts", None, {"Accept-Encoding": "gzip"})
    if packed.headers.get("content-encoding") != "gzip" or gzip.decompress(packed.body) != text:
        return f"the compressed value: {_shown(packed)}"
    return ""


def _numbers(cluster: Cluster) -> str:
    node = cluster.nodes[0]
    for value, kind in ((b"text", "not_a_number"), (b"9223372036854775807", "overflow")):
        _ask(node, "PUT", "/kv/number", value)
        answer = _ask(node, "POST", "/kv/number/incr")
        if not _is_problem(answer, 409, kind):
            return f"{value!r}: {_shown(answer)}"
    return ""


def _no_other_sites(cluster: Cluster) -> str:
    headers = {"Origin": "http://x.example", "Access-Control-Request-Method": "PUT"}
    answer = _ask(cluster.nodes[0], "OPTIONS", "/kv/a", None, headers)
    return "; ".join(name for name in answer.headers if name.startswith("access-control-"))


def _named_sites(cluster: Cluster) -> str:
    site = "https://app.example"
    with Cluster(cluster.binary, options=("--http-cors", site)) as own:
        (node,) = own.grow(1)
        for origin, wanted in ((site, site), ("https://other.example", None)):
            answer = _ask(node, "OPTIONS", "/kv/a", None, {"Origin": origin, "Access-Control-Request-Method": "PUT"})
            if answer.headers.get("access-control-allow-origin") != wanted:
                return f"{origin}: {answer.headers}"
    return ""


def _described(cluster: Cluster) -> str:
    """The description refuses what the server refuses, and names nothing that is missing."""
    api = cluster.nodes[0].ask("/openapi.json")
    if "/watch" in api["paths"] and _ask(cluster.nodes[0], "GET", "/watch").status == 501:
        return "GET /watch is described, and answers 501"
    parameters, schemas = api["components"]["parameters"], api["components"]["schemas"]
    for name in ("Cursor", "Ttl"):
        if "pattern" not in parameters[name]["schema"]:
            return f"any {name} is valid"
    if "value" in schemas["GetOrDelete"]["properties"]:
        return "a get may have a value"
    name = schemas["NodeName"]["properties"]["name"]
    name = schemas[name["$ref"].rsplit("/", 1)[1]] if "$ref" in name else name
    return "" if "pattern" in name else "any name of a node is valid"


HEADS: dict[str, tuple[int, bytes]] = {
    "no Host": (400, b"GET /healthz HTTP/1.1\r\n\r\n"),
    "two Hosts": (400, b"GET /healthz HTTP/1.1\r\n" + HOST + b"Host: b\r\n\r\n"),
    "a space in the address": (400, b"GET /kv/a b HTTP/1.1\r\n" + HOST + b"\r\n"),
    "two lengths": (400, b"PUT /kv/a HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
    "a long address": (414, b"GET /kv/" + b"a" * 66_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n"),
    "120 headers": (431, b"GET /kv/a HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: y\r\n" % i for i in range(120)) + b"\r\n"),
}
"""Requests that are refused before a path is looked at."""


def _heads(cluster: Cluster) -> str:
    node = cluster.nodes[0]
    for name, (status, request) in HEADS.items():
        with socket.create_connection((node.host, node.http_port), timeout=PATIENCE_S) as connection:
            connection.sendall(request)
            got = b""
            while (end := got.find(b"\r\n\r\n")) < 0 or not got[end + 4 :].endswith(b"}"):
                if not (data := connection.recv(1 << 16)):
                    break
                got += data
        if not got.startswith(b"HTTP/1.1 %d " % status) or b"application/problem+json" not in got or end < 0:
            return f"{name}: {got[:200]!r}"
        if b'"status":%d' % status not in got[end:]:
            return f"{name}: the body is {got[end + 4 :]!r}"
    return ""


HTTP: tuple[Case, ...] = (
    Case("http-methods", f"OPTIONS: 204, PATCH, POST, TRACE: 405; always Allow: {ALLOWED}", _methods),
    Case("http-method-first", "TRACE with an Idempotency-Key that was used: 405", _method_before_key),
    Case("http-repeated", "POST /incr?by=500 twice with one Idempotency-Key: 500, 500", _repeated_here),
    Case(
        "http-repeated-elsewhere",
        "the same, at two nodes: 500, 500",
        _repeated_elsewhere,
        Open("a node remembers only the answers it gave itself", "[b'500', b'1000']"),
    ),
    Case("http-if-none-match", "PUT with If-None-Match: * twice: 201, 412 key_exists", _if_none_match),
    Case("http-parts", "GET with Range: 206; with Accept-Encoding: gzip: compressed", _parts),
    Case("http-numbers", "POST /incr of a text: 409 not_a_number; past 64 bits: 409 overflow", _numbers),
    Case("http-other-sites", "a preflight request without --http-cors: no Access-Control header", _no_other_sites),
    Case(
        "http-named-sites", "with --http-cors: the named site is admitted, others are not", _named_sites, own_nodes=True
    ),
    Case("http-described", "openapi.json refuses bad cursors, times, batches and names", _described),
    Case("http-heads", "malformed heads: 400, 414, 431 as problem+json; no Host and two: 400", _heads),
)
