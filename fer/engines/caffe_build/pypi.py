"""Packages from PyPI in a folder of their own, which no Python sees."""

import shutil
import subprocess
import sys
from pathlib import Path

from fer.errors import FerError

BOOST = "cmeel-boost==1.90.0"
CUDA_PARTS = ("nvcc", "crt", "nvvm", "cudart", "cccl", "cublas", "curand")
CUDA = f"cuda-toolkit[{','.join(CUDA_PARTS)}]==13.0.2"
CUDNN = "nvidia-cudnn-cu13>=9.13,<10"


def install(folder: Path, *packages: str, dependencies: bool = True) -> None:
    """Put packages in `folder`, unless it is there; it gets its name once all are. Raises FerError with the reason."""
    if folder.exists():
        return
    fresh = folder.with_name(f"{folder.name}.fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        import uv

        argv = [uv.find_uv_bin(), "pip", "install", "--quiet", "--python", sys.executable, "--target", str(fresh)]
        argv += ["--only-binary", ":all:", *([] if dependencies else ["--no-deps"]), *packages]
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
    except (ImportError, OSError) as error:
        raise FerError(f"uv is missing ({error}), which brings {', '.join(packages)}") from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["uv said nothing"])[-1]
        raise FerError(f"{', '.join(packages)} cannot be had from PyPI: {said.strip()}")
    fresh.replace(folder)
