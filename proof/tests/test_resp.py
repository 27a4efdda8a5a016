"""The decoder of replies, however the bytes are cut."""

from __future__ import annotations

import unittest

from proof.resp import Decoder, ProtocolError, Reply, ReplyError, encode

STREAM = b"+OK\r\n:-7\r\n$-1\r\n$5\r\na\r\nb\n\r\n*2\r\n$1\r\nx\r\n*-1\r\n*0\r\n-ERR no\r\n"
REPLIES: list[Reply] = [b"OK", -7, None, b"a\r\nb\n", [b"x", None], []]


class Decoding(unittest.TestCase):
    """Every cut of a stream gives the same replies."""

    def test_every_cut(self) -> None:
        for cut in range(len(STREAM) + 1):
            decoder = Decoder()
            decoder.feed(STREAM[:cut])
            replies = decoder.replies(100)
            decoder.feed(STREAM[cut:])
            replies += decoder.replies(100)
            self.assertEqual(replies[:-1], REPLIES)
            self.assertIsInstance(replies[-1], ReplyError)
            self.assertEqual(str(replies[-1]), "ERR no")

    def test_not_a_reply(self) -> None:
        decoder = Decoder()
        decoder.feed(b"HTTP/1.1 200 OK\r\n")
        with self.assertRaises(ProtocolError):
            decoder.replies(1)

    def test_encode(self) -> None:
        self.assertEqual(
            encode(("SET", b"\x00", 12)), b"*3\r\n$3\r\nSET\r\n$1\r\n\x00\r\n$2\r\n12\r\n"
        )


if __name__ == "__main__":
    unittest.main()
