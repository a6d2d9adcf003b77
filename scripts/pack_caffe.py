"""A build by `fer caffe build`, with the libraries that it needs, as an archive to carry to a machine that has none.

    fer caffe build --gpu --arch 90 --without opencv leveldb
    python scripts/pack_caffe.py BUILD caffe.tar.xz

caffe/libexec/caffe trains there, from prototxts and LMDBs: `LD_LIBRARY_PATH=CUDA caffe/libexec/caffe train ...`, where
CUDA is a folder with CUDA 13's libraries (those of PyTorch do: site-packages/nvidia/cu13/lib). CUDA's, glibc's and the
driver's are left behind, pycaffe too. scripts/gpu_day.py takes the archive as --caffe.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

# glibc's own are of the machine's, and fit no other loader.
_GLIBC = re.compile(r"(ld-linux.*|lib(c|m|dl|rt|pthread|resolv|util)\.so.*)")


def libraries(executable: Path) -> list[Path]:
    """What the loader finds for it, without glibc's."""
    said = subprocess.run(["ldd", executable], capture_output=True, text=True, check=True).stdout
    if missing := re.findall(r"(\S+) => not found", said):
        sys.exit(f"{executable} does not find {', '.join(missing)}")
    found = map(Path, re.findall(r"=> (/\S.*) \(0x", said))
    return [path for path in found if not _GLIBC.fullmatch(path.name)]


def pack(build: Path, archive: Path) -> None:
    executable = build / "libexec" / "caffe"
    if not executable.is_file():
        sys.exit(f"{build} is no build by fer caffe build: it has no libexec/caffe")
    cuda = (build / "cuda").resolve()
    with tempfile.TemporaryDirectory(prefix="pack-caffe-") as work:
        folder = Path(work) / "caffe"
        (folder / "lib").mkdir(parents=True)
        (folder / "libexec").mkdir()
        shutil.copy(executable, folder / "libexec")
        for path in libraries(executable):
            if not path.resolve().is_relative_to(cuda):
                shutil.copy(path, folder / "lib" / path.name)
        for path in folder.rglob("*"):
            if path.is_file():
                subprocess.run(["strip", "--strip-unneeded", path], check=True)
        with tarfile.open(archive, "w:xz", preset=3) as file:
            file.add(folder, "caffe")
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{archive}: {archive.stat().st_size / 2**20:.1f} MiB, unpacked {size / 2**20:.1f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, help="the folder of the build")
    parser.add_argument("archive", type=Path, help="what to write: caffe.tar.xz")
    options = parser.parse_args()
    pack(options.build.resolve(), options.archive)
    return 0


if __name__ == "__main__":
    sys.exit(main())
