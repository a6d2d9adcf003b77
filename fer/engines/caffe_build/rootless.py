"""Debian's and Ubuntu's packages without root: downloaded, and unpacked into a folder."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from fer.errors import FerError
from fer.system.progress import StageProgress

_AT_ONCE = 10  # apt reads its lists anew each time
_INSTALLED = re.compile(r"^Inst (\S+) (?:\[\S+\] )?\((\S+)", re.MULTILINE)


def unpack(root: Path, packages: Sequence[str], progress: StageProgress | None = None) -> None:
    """Have `packages`, and what they need that is not installed, in `root`; it gets its name once all is unpacked.

    Raises FerError where the system has no apt, or a package cannot be had.
    """
    if root.exists():
        return
    fresh = root.with_name(f"{root.name}.fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    archives = fresh / "archives"
    archives.mkdir(parents=True)
    asked = _run(["apt-get", "--simulate", "--no-install-recommends", "install", *packages], fresh)
    wanted = [f"{name}={version}" for name, version in _INSTALLED.findall(asked)]
    for number in range(0, len(wanted), _AT_ONCE):
        if progress:
            progress("packages", number, len(wanted))
        _run(["apt-get", "download", *wanted[number : number + _AT_ONCE]], archives)
    for archive in sorted(archives.glob("*.deb")):
        _run(["dpkg-deb", "-x", str(archive), str(fresh)], fresh)
    shutil.rmtree(archives)
    fresh.replace(root)


def _run(argv: Sequence[str], folder: Path) -> str:
    try:
        done = subprocess.run(list(argv), cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise FerError(
            f"--no-root needs {argv[0]}, of Debian and Ubuntu, which is not here ({error.strerror})"
        ) from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise FerError(
            f"{' '.join(argv[:2])}: {said}\n"
            "Where apt's lists are empty or old, an administrator's `apt-get update` mends it"
        )
    return done.stdout
