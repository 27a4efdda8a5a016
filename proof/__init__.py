"""Black-box proofs of salp: real processes, real sockets, real clients.

Nothing here knows how salp works inside. The programs start the release binary, break it in the
ways its promises speak of, and compare what it answers with what it acknowledged before. Python
3.11, standard library only. Run from the root of the repository: `python3 -m proof.chaos all`.
"""
