"""Seeds of steps: every random draw of training depends on them, and on nothing that was drawn before."""

import hashlib


def step_seed(seed: int, iteration: int, rank: int) -> int:
    """Return a seed in [0, 2^32) for one step of one rank; near inputs give unrelated seeds."""
    digest = hashlib.blake2b(f"{seed}/{iteration}/{rank}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")
