"""What is installed here, and what to do about what is not."""

import json
import platform
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fer.errors import FerError
from fer.system.hardware import instruction_sets, native_bf16, processor
from fer.system.shell import command, pip_install

if TYPE_CHECKING:
    from fer.engines.interpreter import CaffePython
    from fer.engines.real_caffe import RealCaffe

DISTRIBUTION = "fer-caffe"
PACKAGES = ("numpy", "pandas", "lmdb", "opencv-python-headless", "protobuf", "matplotlib", "scikit-learn", "uv")
# The real data set as JPGs and databases (raw 48x48), and some snapshots of AlexNet.
NEEDED_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: what was looked at, whether it is well, what was found and the cure."""

    what: str
    ok: bool
    found: str
    cure: str = ""
    needed: bool = True


def examine() -> list[Finding]:
    """Look at everything; a fault in one thing never hides the next."""
    looks = (_python, _namesake, _processor, _caffe, _pytorch, _gpu, _disk)
    return [finding for look in looks for finding in _try(look)]


def _try(look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What `look` finds; where it fails itself, that."""
    try:
        yield from look()
    except Exception as error:  # whatever is wrong with this machine, the doctor goes on
        what = look.__name__.strip("_")
        yield Finding(what, False, f"could not be looked at: {error or type(error).__name__}")


def findings_text(findings: list[Finding], room: int | None = None) -> str:
    """The findings as a table, each cure under its finding; lines of `room` characters, but for commands to copy."""
    width = max(len(finding.what) for finding in findings)
    lines = []
    for finding in findings:
        mark = "ok  " if finding.ok else "MISS" if finding.needed else "-   "
        line, indent = f"{mark}  {finding.what:<{width}}  {finding.found}", " " * min(width + 8, (room or 80) // 3)
        lines += [line] if room is None else textwrap.wrap(line, room, subsequent_indent=indent)
        for number, line in enumerate(finding.cure.splitlines()):
            lines.append(f"      {'':<{width}}  {'   ' if number else '-> '}{line}")
    return "\n".join(lines)


def _python() -> Iterator[Finding]:
    yield Finding("python", True, f"{platform.python_version()} on {platform.platform(terse=True)}")
    versions, missing = [], []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            missing.append(package)
    yield Finding("packages", not missing, ", ".join(versions), pip_install(*missing) if missing else "")


def _namesake() -> Iterator[Finding]:
    """PyPI has another project called fer, whose module has the same name; only where it is installed."""
    try:
        other = metadata.distribution("fer")
    except metadata.PackageNotFoundError:
        return
    if any(point.name == "fer" and point.value == "fer.cli:main" for point in other.entry_points):
        return  # ours, by the name it had
    yield Finding(
        "another fer",
        False,
        f"PyPI's fer {other.version} has its files in the same folder as ours: {Path(__file__).parent}",
        f"{command(sys.executable, '-m', 'pip', 'uninstall', 'fer')}\nthen install {DISTRIBUTION} again, as at first",
    )


def _processor() -> Iterator[Finding]:
    native = native_bf16()
    found = f"{processor()}: {', '.join(instruction_sets()) or 'its instruction sets are not known'}"
    yield Finding("processor", True, found)
    yield Finding(
        "processor's bf16",
        native,
        "native" if native else "only emulated, several times slower than fp32",
        "" if native else "on this processor train with --precision fp32, the default",
        needed=False,
    )


def _caffe() -> Iterator[Finding]:
    from fer.engines.interpreter import find_caffe, offline_cure
    from fer.engines.registry import find_engine, users_own_caffe

    try:
        found = find_caffe()
        yield Finding("caffe", True, str(found))
        for place in found.skipped:
            yield Finding("caffe, passed over", False, place, needed=False)
        engine = cast("RealCaffe", find_engine("caffe"))
        facts = engine.doctor()
    except FerError as problem:
        yield Finding("caffe", False, "real Caffe cannot be started", str(problem))
        if not users_own_caffe():
            yield Finding("caffe, no network", False, "it can be brought here", offline_cure(), needed=False)
        return
    yield Finding(
        "caffe imports",
        True,
        f"Caffe {facts['caffe']} in CPython {facts['python']}, numpy {facts['numpy']}, protobuf {facts['protobuf']}, "
        f"{len(facts['layer_types'])} layer types",
    )
    step = bool(facts["one_step_ok"])
    yield Finding(
        "caffe trains",
        step,
        "one solver step ran" if step else "a solver step failed",
        "" if step else "name another Python with a working pycaffe in FER_CAFFE_PYTHON",
    )
    if engine.program != engine.command[0]:
        yield Finding(
            "caffe executable", True, f"{engine.program} trains: {len(engine.known_types(frozenset()))} layer types"
        )
    norm = engine.trains_batch_norm()
    yield Finding(
        "caffe BatchNorm",
        norm,
        "trains" if norm else "does not train, so that nets with it go to the PyTorch engine",
        "" if norm else "fer caffe build makes a Caffe that trains it",
        needed=False,
    )
    yield Finding(
        "caffe on GPU",
        bool(facts["gpu"]),
        "yes" if facts["gpu"] else "no: this Caffe is CPU-only, or there is no card",
        "" if facts["gpu"] else "to train on a GPU, take --engine pytorch, or fer caffe build --gpu",
        needed=False,
    )
    yield from _other_caffes(found)


def _other_caffes(taken: "CaffePython") -> Iterator[Finding]:
    """Those that are there besides, which are taken where the ones before them are gone."""
    from fer.engines.caffe_build.builds import all_builds
    from fer.engines.caffe_build.proof import engine_of, engine_of_wheel
    from fer.engines.interpreter import wheel_is_there

    found, passed_over = all_builds()
    others = [(str(build), build.folder, engine_of(build)) for build in found if build.folder != taken.build]
    if not taken.is_wheel and wheel_is_there():
        others.append(("kendryte-caffe's wheel in CPython 3.9", None, engine_of_wheel()))
    for name, folder, engine in others:
        try:
            facts = engine.doctor()
        except FerError as fault:
            yield Finding("caffe, not taken", False, f"{folder or name}: {str(fault).splitlines()[-1]}", needed=False)
            continue
        norm = "BatchNorm trains" if engine.trains_batch_norm() else "BatchNorm does not train"
        gpu = "GPU" if facts["gpu"] else "no GPU"
        yield Finding("caffe, not taken", True, f"{name}: {len(facts['layer_types'])} layer types, {norm}, {gpu}")
    for fault in passed_over:
        yield Finding("caffe, passed over", False, fault, needed=False)


# Asked in a process of its own: importing torch here would take seconds and hundreds of MiB.
_ASK_TORCH = """
import json, torch
mps = getattr(torch.backends, "mps", None)
names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
facts = {"cuda": torch.version.cuda, "gpus": names, "mps": bool(mps and mps.is_available())}
print(json.dumps(facts))
"""


def _pytorch() -> Iterator[Finding]:
    from fer.engines.pytorch_engine import PACKAGES as PYTORCH_PACKAGES

    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        yield Finding("pytorch", False, "not installed: only real Caffe trains", pip_install(*PYTORCH_PACKAGES), False)
        return
    answer = _output([sys.executable, "-P", "-c", _ASK_TORCH], timeout=120)
    yield Finding(
        "pytorch",
        bool(answer),
        f"torch {version}" if answer else f"torch {version} cannot be imported",
        "" if answer else f"install it again: {pip_install('--force-reinstall', 'torch')}",
        needed=False,
    )
    if answer:
        facts = json.loads(answer.splitlines()[-1])
        kind = f"CUDA {facts['cuda']}" if facts["cuda"] else "no CUDA in this build of torch"
        found = "; ".join(facts["gpus"]) or "no GPU it can use"
        yield Finding("pytorch on GPU", bool(facts["gpus"]), f"{found} ({kind})", needed=False)
        yield Finding("pytorch on MPS", facts["mps"], "yes" if facts["mps"] else "no", needed=False)


def _gpu() -> Iterator[Finding]:
    names = _output(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"])
    yield Finding("gpu", bool(names), names.replace("\n", "; ") if names else "no NVIDIA GPU found", needed=False)


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(Path.cwd()).free
    enough = free >= NEEDED_BYTES
    yield Finding(
        "disk",
        enough,
        f"{free / 2**30:.1f} GiB free in {Path.cwd()}",
        ""
        if enough
        else f"FER2013 and a training want about {NEEDED_BYTES / 2**30:.0f} GiB: free some, or work elsewhere",
    )


def _output(command: list[str], timeout: float = 20) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout, check=True)
        return done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
