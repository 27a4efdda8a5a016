"""The proofs themselves, proven: a checker that cannot fail shows nothing.

Needs redis-server, which plays the perfect store behind the stand-in. No salp binary is needed.
"""
