"""Commands for a person to type into a shell, as messages print them."""

import importlib.util
import shlex
import sys


def command(*words: object) -> str:
    """The words as one line, those quoted that a shell would split or expand."""
    return shlex.join(map(str, words))


def pip_install(*packages: str) -> str:
    """What installs packages for the Python that runs fer, typed in any folder; a Python of uv's has no pip."""
    if importlib.util.find_spec("pip"):
        return command(sys.executable, "-m", "pip", "install", *packages)
    return command(sys.executable, "-m", "uv", "pip", "install", "--python", sys.executable, *packages)
