"""What a build needs, looked for before anything is done: compilers, libraries, a shared Python, disk and memory."""

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from fer.engines.caffe_build.python import BuildPython
from fer.errors import FerError
from fer.system.files import scratch
from fer.system.shell import command

OLDEST_COMPILER = 9  # of C++17 with std::filesystem's like in Boost
_MIB = 2**20
_HEADERS = ("", "hdf5/serial", "opencv4", "{triple}", "{triple}/openblas-pthread", "{triple}/hdf5/serial")
_LIBRARIES = ("", "{triple}", "{triple}/hdf5/serial", "{triple}/openblas-pthread")


@dataclass(frozen=True)
class Library:
    """What is compiled and linked to see whether a library is there, and the packages of Debian and Ubuntu with it.

    `define` is the macro of a library that Caffe can be built without, and `lost` what is then not in it.
    """

    name: str
    include: str
    line: str
    links: tuple[str, ...]
    packages: tuple[str, ...]
    define: str = ""
    lost: str = ""


LIBRARIES = (
    Library(
        "Protocol Buffers", "google/protobuf/message.h", "google::protobuf::ShutdownProtobufLibrary();",
        ("protobuf",), ("libprotobuf-dev",),
    ),
    Library("glog", "glog/logging.h", 'google::InitGoogleLogging("fer");', ("glog",), ("libgoogle-glog-dev",)),
    Library("gflags", "gflags/gflags.h", 'gflags::SetUsageMessage("fer");', ("gflags",), ("libgflags-dev",)),
    Library(
        "Boost", "boost/filesystem.hpp", 'return boost::filesystem::exists("fer");', ("boost_filesystem",),
        ("libboost-filesystem-dev",),
    ),
    Library(
        "Boost.Thread", "boost/thread.hpp", "boost::thread([] {}).join();", ("boost_thread",), ("libboost-thread-dev",)
    ),
    Library("LMDB", "lmdb.h", "mdb_version(0, 0, 0);", ("lmdb",), ("liblmdb-dev",)),
    Library(
        "HDF5", "hdf5_hl.h", 'return H5LTfind_dataset(0, "fer");', ("hdf5_hl", "hdf5"), ("libhdf5-dev",)
    ),
    Library("OpenBLAS", "cblas.h", "return cblas_isamax(0, 0, 1);", ("openblas",), ("libopenblas-dev",)),
    Library(
        "OpenCV", "opencv2/imgcodecs.hpp", 'cv::imread("fer");',
        ("opencv_imgcodecs", "opencv_highgui", "opencv_imgproc", "opencv_core"), ("libopencv-dev",),
        "USE_OPENCV", "ImageData and WindowData layers, images in LMDBs, convert_imageset",
    ),
    Library(
        "LevelDB", "leveldb/db.h", 'leveldb::DestroyDB("fer", leveldb::Options());', ("leveldb", "snappy"),
        ("libleveldb-dev", "libsnappy-dev"), "USE_LEVELDB", "databases of LevelDB",
    ),
)  # fmt: skip


OPTIONAL = tuple(library.name.lower() for library in LIBRARIES if library.define)


@dataclass(frozen=True)
class Tools:
    """The compilers, and what they are told of where things lie.

    `headers` and `folders` are searched for headers and libraries; `libraries` are those to link with, `defines` the
    macros of those of them that Caffe can do without.
    """

    cxx: str
    protoc: str
    headers: tuple[str, ...]
    folders: tuple[str, ...]
    libraries: tuple[str, ...] = ()
    defines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Look:
    """What was found, and what is missing: sentences, and Debian's packages that mend them.

    `lost` says what a build will not have for want of a library that it can do without.
    """

    tools: Tools
    missing: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    needs_boost_python: bool = False


def look(
    python: BuildPython, roots: Sequence[Path] = (), boost: Path | None = None, without: Collection[str] = ()
) -> Look:
    """Look for all that a build for `python` needs, in the system's folders and first in the `usr` of `roots`.

    `boost` has a Boost of its own, with Boost.Python, in `include` and `lib`; `without` are names of OPTIONAL.
    """
    missing, packages = list(python.faults), list(python.packages)
    lost: list[str] = []
    cxx, protoc = _program("g++", roots), _program("protoc", roots)
    if fault := _compiler_fault(cxx):
        missing.append(fault)
        packages.append("g++")
    if protoc is None:
        missing.append("protoc, the compiler of Protocol Buffers")
        packages.append("protobuf-compiler")
    tools = _searching(Tools(cxx or "g++", protoc or "protoc", (), ()), roots, boost)
    if cxx is None or fault:  # no line can be compiled: all are named, and apt passes over those that are there
        wanted = [name for library in LIBRARIES if not library.define for name in library.packages]
        return Look(tools, tuple(missing), _once([*packages, *wanted]))
    found: list[Library] = []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        compiles = list(threads.map(lambda library: _compiles(tools, library), LIBRARIES))
    for library, is_there in zip(LIBRARIES, compiles, strict=True):
        if library.name.lower() in without:
            lost.append(f"{library.name} is left out, so that Caffe will be without {library.lost}")
        elif is_there:
            found.append(library)
        elif library.define:
            lost.append(f"{library.name} is not there, so that Caffe will be without {library.lost}")
        else:
            missing.append(f"{library.name} (a line with <{library.include}> does not compile or link)")
            packages += library.packages
    has_boost_python = not python.faults and _compiles(tools, python.boost, python)
    if has_boost_python:
        found.append(python.boost)
    links = tuple(name for library in found for name in library.links)
    tools = replace(tools, libraries=links, defines=tuple(filter(None, (library.define for library in found))))
    return Look(tools, tuple(missing), _once(packages), tuple(lost), not has_boost_python)


def _once(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


def _program(name: str, roots: Sequence[Path]) -> str | None:
    for root in roots:
        if (path := root / "usr" / "bin" / name).exists():
            return str(path)
    return shutil.which(name)


def _compiler_fault(cxx: str | None) -> str:
    """Why there is no compiler that will do; nothing where there is."""
    if cxx is None:
        return f"g++, {OLDEST_COMPILER} or newer"
    try:
        said = subprocess.run([cxx, "-dumpfullversion"], capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        return f"g++: {cxx} cannot be started ({error.strerror})"
    version = re.match(r"\d+", said.stdout)
    if version is None or int(version[0]) < OLDEST_COMPILER:
        return f"g++ {OLDEST_COMPILER} or newer: {cxx} is {said.stdout.strip() or 'of no known version'}"
    return ""


def _searching(tools: Tools, roots: Sequence[Path], boost: Path | None) -> Tools:
    """With the folders of headers and libraries that there are, the system's last."""
    triple = sysconfig.get_config_var("MULTIARCH") or "x86_64-linux-gnu"

    def there(base: Path, names: Sequence[str]) -> list[str]:
        folders = [base / name.format(triple=triple) for name in names]
        return [str(folder) for folder in folders if folder.is_dir()]

    own = [str(boost / "include")] if boost else []
    own_lib = [str(boost / "lib")] if boost else []
    headers = [folder for root in roots for folder in there(root / "usr" / "include", _HEADERS)]
    libraries = [folder for root in roots for folder in there(root / "usr" / "lib", _LIBRARIES)]
    # What the compiler searches by itself is not named: before others' headers, it would break #include_next.
    headers += there(Path("/usr/include"), _HEADERS[1:])
    libraries += there(Path("/usr/lib"), _LIBRARIES[1:])
    return replace(tools, headers=(*own, *headers), folders=(*own_lib, *libraries))


def _compiles(tools: Tools, library: Library, python: BuildPython | None = None) -> bool:
    """Whether a program of one line that uses the library compiles and links."""
    with scratch("fer-look-") as folder:
        source = folder / "line.cpp"
        source.write_text(
            f"#include <{library.include}>\nint main() {{ {library.line} return 0; }}\n", encoding="ascii"
        )
        argv = [tools.cxx, "-std=c++17", "-w", "-pthread", str(source), "-o", str(folder / "line")]
        argv += [word for header in tools.headers for word in ("-isystem", header)]
        argv += [f"-I{python.include}", *python.links] if python else []
        argv += [f"-L{each}" for each in tools.folders] + [
            word for each in tools.folders for word in ("-Xlinker", "-rpath-link", "-Xlinker", each)
        ]
        argv += [f"-l{name}" for name in library.links] + (list(python.links) if python else [])
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def install_line(packages: Sequence[str]) -> str:
    """What installs packages of Debian or Ubuntu, in one line to paste."""
    sudo = ["sudo"] if os.getuid() else []
    return command(*sudo, "apt-get", "install", "--yes", "--no-install-recommends", *packages)


# ---- room


def check_disk(folder: Path, wanted: int) -> None:
    """Raise FerError unless the disk of a folder (or of the nearest above that is there) has so many bytes free."""
    there = folder
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < wanted:
        raise FerError(
            f"{folder}: {free / 2**30:.1f} GB free, a build takes {wanted / 2**30:.1f} GB\n"
            "make room, or build elsewhere: --prefix DIR"
        )


def jobs_for(cores: int, each: int) -> int:
    """How many compilers there is memory for, of `each` so many bytes, at most one a core and at least one.

    Raises FerError where there is none for a single one.
    """
    free = _memory_free()
    if free is not None and free < each:
        raise FerError(
            f"{free // _MIB:,} MiB of memory are free, a compiler takes up to {each // _MIB:,}\n"
            "end other programs first"
        )
    return max(1, min(cores, cores if free is None else free // each))


def _memory_free() -> int | None:
    try:
        found = re.search(r"^MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
