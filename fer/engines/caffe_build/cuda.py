"""For a GPU build: the cards and the driver that are here, and NVIDIA's compiler and libraries from PyPI."""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fer.engines.caffe_build import pypi
from fer.errors import FerError

OLDEST_DRIVER = 580  # of CUDA 13
KNOWN = (80, 86, 89, 90, 100, 120)
_LINKED = ("cudart", "cublas", "curand")


@dataclass(frozen=True)
class Cuda:
    """The toolkit in `folder`, and the GPUs to compile for (90: sm_90)."""

    folder: Path
    arch: tuple[int, ...]
    version: str
    cudnn: Path | None = None

    @property
    def nvcc(self) -> str:
        return str(self.folder / "bin" / "nvcc")

    @property
    def headers(self) -> tuple[str, ...]:
        own = [self.folder / "include", self.folder / "include" / "cccl"]
        return tuple(map(str, [*own, *([self.cudnn / "include"] if self.cudnn else [])]))

    @property
    def folders(self) -> tuple[Path, ...]:
        return (self.folder / "lib", *([self.cudnn / "lib"] if self.cudnn else []))

    @property
    def libraries(self) -> tuple[str, ...]:
        return (*_LINKED, *(["cudnn"] if self.cudnn else []))


def arches_here() -> tuple[int, ...]:
    """The compute capabilities of the cards that are here; none where there is no card.

    Raises FerError where their driver is too old for the toolkit.
    """
    argv = ["nvidia-smi", "--query-gpu=compute_cap,driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
    except OSError:
        return ()
    found = re.findall(r"^(\d+)\.(\d), (\d+)\.", said.stdout, re.MULTILINE) if said.returncode == 0 else []
    for *_, driver in found:
        if int(driver) < OLDEST_DRIVER:
            raise FerError(
                f"the NVIDIA driver here is {driver}, the toolkit (CUDA 13) needs {OLDEST_DRIVER} or newer\n"
                "install a newer driver, or train on the GPU with --engine pytorch"
            )
    return tuple(sorted({int(major + minor) for major, minor, _ in found}))


def wanted_arches(named: Sequence[int]) -> tuple[int, ...]:
    """Those named, or those of the cards here. Raises FerError where there are neither."""
    here = arches_here()
    if not (named or here):
        raise FerError(
            "no NVIDIA card is here, so that what to compile for has to be named: --arch N\n"
            "80: A100; 86: RTX 30; 89: RTX 40, L4; 90: H100, H200; 100: B200; 120: RTX 50"
        )
    return tuple(sorted(set(named or here)))


def toolkit(folder: Path, arch: Sequence[int], cudnn: bool) -> Cuda:
    """The toolkit in `folder`, brought there if need be. Raises FerError where it cannot be had or lacks a GPU."""
    pypi.install(folder, pypi.CUDA, *([pypi.CUDNN] if cudnn else []))
    root = folder / "nvidia" / "cu13"
    for library in (*_LINKED, "cudnn"):
        _name_for_linker(root / "lib", library)
    _name_for_linker(folder / "nvidia" / "cudnn" / "lib", "cudnn")
    found = Cuda(root, tuple(arch), "", folder / "nvidia" / "cudnn" if cudnn else None)
    codes = {int(code) for code in re.findall(r"sm_(\d+)\b", _ask(found.nvcc, "--list-gpu-code"))}
    if unknown := [number for number in arch if number not in codes]:
        valid = ", ".join(str(number) for number in KNOWN if number in codes)
        raise FerError(
            f"--arch {unknown[0]}: this toolkit's nvcc knows no sm_{unknown[0]}; it knows {valid} and others"
        )
    release = re.search(r"release (\d+\.\d+)", _ask(found.nvcc, "--version"))
    return Cuda(root, tuple(arch), release[1] if release else "13", found.cudnn)


def _name_for_linker(folder: Path, library: str) -> None:
    """A lib….so beside the lib….so.13, which the packages of PyPI lack."""
    link = folder / f"lib{library}.so"
    if not link.exists() and (versions := sorted(folder.glob(f"lib{library}.so.*"))):
        link.symlink_to(versions[0].name)


def _ask(*argv: str) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise FerError(f"{argv[0]} cannot be started: {error.strerror}") from error
    if done.returncode:
        raise FerError(f"{' '.join(argv)}: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}")
    return done.stdout
