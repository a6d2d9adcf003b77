"""Commands for a person to type into a shell, as messages print them."""

import importlib.util
import shlex
import sys
from pathlib import Path


def command(*words: object) -> str:
    """The words as one line, those quoted that a shell would split or expand."""
    return shlex.join(map(str, words))


def from_here(path: Path) -> Path:
    """An absolute path as it is seen from the current folder, where it lies below that."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def pip_install(*packages: str) -> str:
    """What installs packages for the Python that runs fer, typed in any folder; a Python of uv's has no pip."""
    if importlib.util.find_spec("pip"):
        return command(sys.executable, "-m", "pip", "install", *packages)
    return command(sys.executable, "-m", "uv", "pip", "install", "--python", sys.executable, *packages)
