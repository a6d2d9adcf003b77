"""What is installed here, and what to do about what is not."""

import json
import os
import platform
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
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
    looks = (_python, _namesake, _processor, _caffe, _pytorch, _tensorflow, _gpu, _disk)
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
    others = [(f"{build} ({build.folder})", engine_of(build)) for build in found if build.folder != taken.build]
    if not taken.is_wheel and wheel_is_there():
        others.append(("kendryte-caffe's wheel in CPython 3.9", engine_of_wheel()))
    for name, engine in others:
        try:
            facts = engine.doctor()
        except FerError as fault:
            yield Finding("caffe, not taken", False, f"{name}: {str(fault).splitlines()[-1]}", needed=False)
            continue
        norm = "BatchNorm trains" if engine.trains_batch_norm() else "BatchNorm does not train"
        gpu = "GPU" if facts["gpu"] else "no GPU"
        yield Finding("caffe, not taken", True, f"{name}: {len(facts['layer_types'])} layer types, {norm}, {gpu}")
    for reason in passed_over:
        yield Finding("caffe, passed over", False, reason, needed=False)


# Asked in a process of its own: importing one here would take seconds and hundreds of MiB.
_ASK_TORCH = """
import json, torch
mps = getattr(torch.backends, "mps", None)
names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
facts = {"cuda": torch.version.cuda, "gpus": names, "mps": bool(mps and mps.is_available())}
print(json.dumps(facts))
"""


_ASK_TENSORFLOW = """
import json, tensorflow
gpus = tensorflow.config.list_physical_devices("GPU")
names = [tensorflow.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
build = tensorflow.sysconfig.get_build_info()
print(json.dumps({"gpus": names, "cuda": build.get("cuda_version")}))
"""


def _pytorch() -> Iterator[Finding]:
    from fer.engines.pytorch_engine import PyTorch

    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        cure = pip_install(*PyTorch.packages)
        yield Finding("pytorch", False, "not installed: real Caffe trains, or TensorFlow", cure, needed=False)
        return
    yield from _framework("pytorch", "torch", version, _ASK_TORCH)


def _tensorflow() -> Iterator[Finding]:
    from fer.engines.tensorflow_engine import TensorFlow

    if not TensorFlow.installed():
        yield Finding("tensorflow", False, "not installed", pip_install(*TensorFlow.packages), needed=False)
        return
    names = ("tensorflow", "tensorflow-cpu")
    name = next((name for name in names if any(metadata.Distribution.discover(name=name))), names[0])
    yield from _framework("tensorflow", name, metadata.version(name), _ASK_TENSORFLOW)


def _framework(engine: str, package: str, version: str, ask: str) -> Iterator[Finding]:
    """Whether it can be imported, and what it finds to compute on besides the CPU."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    answer = _output([sys.executable, "-P", "-c", ask], timeout=120, environment=environment)
    yield Finding(
        engine,
        bool(answer),
        f"{package} {version}" if answer else f"{package} {version} cannot be imported",
        "" if answer else f"install it again: {pip_install('--force-reinstall', package)}",
        needed=False,
    )
    if answer:
        facts = json.loads(answer.splitlines()[-1])
        kind = f"CUDA {facts['cuda']}" if facts["cuda"] else f"no CUDA in this build of {package}"
        found = "; ".join(facts["gpus"]) or "no GPU it can use"
        yield Finding(f"{engine} on GPU", bool(facts["gpus"]), f"{found} ({kind})", needed=False)
        if "mps" in facts:
            yield Finding(f"{engine} on MPS", facts["mps"], "yes" if facts["mps"] else "no", needed=False)


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


def _output(command: list[str], timeout: float = 20, environment: Mapping[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=True,
            env=dict(environment) if environment else None,
        )
        return done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
