"""Seeds from one number: what is drawn for one purpose never moves what is drawn for another."""

import hashlib
import os


def new_seed() -> int:
    """One from the system."""
    return int.from_bytes(os.urandom(6), "little")


def derive_seed(seed: int, scope: str, name: str) -> int:
    """A 63-bit seed that depends on the seed, the scope (the net of a training, its rank) and `name` only."""
    digest = hashlib.sha256(f"{seed}/{scope}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


class Seeds:
    """What a framework's random generators begin with, by their names.

    `seed` < 0 draws one from the system. `scope` keeps apart the nets of one training and its ranks.
    """

    def __init__(self, seed: int = -1, scope: str = ""):
        self.seed = seed if seed >= 0 else new_seed()
        self.scope = scope

    def derive(self, name: str) -> int:
        """A 63-bit seed that depends on the seed, the scope and `name` only."""
        return derive_seed(self.seed, self.scope, name)
