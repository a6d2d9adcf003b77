"""What a run was made on, for its record."""

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")
# What of a processor's instructions decides how fast a training is, by their names in /proc/cpuinfo.
INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "bf16")  # the last one is ARM's
BF16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
# What ONEDNN_MAX_CPU_ISA can hold PyTorch to that knows no bf16.
WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")


def hardware(gpus: Sequence[int] = ()) -> dict[str, Any]:
    """{"cpu": model, "cores": usable ones, "memory_gib": float, "gpu": names joined by "; ", or None}."""
    names = [name for name in map(_gpu, gpus) if name]
    return {"cpu": processor(), "cores": _cores(), "memory_gib": _memory_gib(), "gpu": "; ".join(names) or None}


def physical_cores() -> int:
    """Cores that this process may use, hyper-threads of one core counted once."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    return len({_siblings(number) for number in usable})


def _siblings(number: int) -> str:
    """What the logical CPUs of one core have in common; where the system does not tell, each is its own core."""
    try:
        return Path(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list").read_text(encoding="ascii")
    except OSError:
        return str(number)


def instruction_sets() -> tuple[str, ...]:
    """Those of INSTRUCTION_SETS that the processor has; none where the system does not tell."""
    found = re.search(r"^(?:flags|Features)\s*: (.*)$", _cpuinfo(), re.MULTILINE)
    flags = found[1].split() if found else []
    return tuple(name for name in INSTRUCTION_SETS if name in flags)


def native_bf16() -> bool:
    """Whether the processor calculates in bf16 itself, and may; emulated, it is several times slower than fp32."""
    held_back = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in WITHOUT_BF16
    return not held_back and not BF16.isdisjoint(instruction_sets())


# Without the programs that a folder's .git/config may have git start, and without a network.
_GIT = (
    *("env", "GIT_OPTIONAL_LOCKS=0", "GIT_NO_LAZY_FETCH=1", "git", "-c", "core.fsmonitor=false"),
    *("-c", f"core.hooksPath={os.devnull}", "-c", "protocol.allow=never"),
)
_MAY_RUN = r"^(filter\.|include\.|includeif\.|extensions\.worktreeconfig)"


def git_commit() -> str | None:
    """The commit of the current folder, with "-dirty" where files differ from it; None outside git."""
    head = _output(*_GIT, "rev-parse", "--verify", "--quiet", "HEAD")
    # A filter is a program that the folder's own configuration names, and the folder may be someone else's.
    if head is None or _output(*_GIT, "config", "--name-only", "--local", "--get-regexp", _MAY_RUN):
        return head
    changed = _output(*_GIT, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all")
    return f"{head}-dirty" if changed else head


def processor() -> str:
    """Its model's name."""
    found = re.search(r"^model name\s*: (.*)$", _cpuinfo(), re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def _cpuinfo() -> str:
    try:
        return CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_gib() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


def _gpu(number: int) -> str | None:
    """The name of an engine's GPU `number`, which CUDA_VISIBLE_DEVICES may have made another than nvidia-smi's.

    None where that is not sure: CUDA counts the fastest first, unless told otherwise, and nvidia-smi by place.
    """
    said = _output("nvidia-smi", "--query-gpu=index,uuid,name", "--format=csv,noheader") or ""
    rows = [[word.strip() for word in line.split(",", 2)] for line in said.splitlines()]
    there = [row for row in rows if len(row) == 3]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [word.strip() for word in visible.split(",")] if visible is not None else [row[0] for row in there]
    if not 0 <= number < len(names) or not names[number]:
        return None
    wanted, by_place = names[number], os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    if wanted.isdecimal() and not by_place and len({name for _, _, name in there}) > 1:
        return None
    return next((name for index, uuid, name in there if index == wanted or uuid.startswith(wanted)), None)


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
