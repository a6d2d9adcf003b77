"""What is compiled, with which words, and what is linked of it.

Several sources are compiled as one, since most of the work is the headers that all of them read.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fer.engines.caffe_build.cuda import Cuda
from fer.engines.caffe_build.jobs import Job
from fer.engines.caffe_build.needs import Tools
from fer.engines.caffe_build.python import BuildPython

PROGRAMS = ("caffe", "convert_imageset", "compute_image_mean")
VERSION = "1.0.0"
# Sources that are known to compile as one, in the order of their names; or fewer, so that each core has some.
_TOGETHER = (12, 6, 4, 3, 2)
# Sources that define what others do, or that take as long as several.
_ALONE = {".cpp": ("layer_factory", "cudnn_conv", "cudnn_deconv", "python_layer"), ".cu": ("cudnn_", "math_functions")}
_DEFINES = ("NDEBUG", "BOOST_BIND_GLOBAL_PLACEHOLDERS", "BOOST_ALLOW_DEPRECATED_HEADERS", "USE_LMDB", "USE_HDF5",
            "WITH_PYTHON_LAYER", f"CAFFE_VERSION={VERSION}")  # fmt: skip


def linker(option: str, path: str | Path) -> tuple[str, ...]:
    """The words that hand a path to the linker; after -Wl a comma in it would end it."""
    return ("-Xlinker", option, "-Xlinker", str(path))


@dataclass(frozen=True)
class Compilation:
    """A build in `folder`, whose `work` holds what is on the way: the sources in src, what protoc writes in gen."""

    folder: Path
    tools: Tools
    python: BuildPython
    cuda: Cuda | None = None

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def source(self) -> Path:
        return self.work / "src"

    @property
    def generated(self) -> Path:
        return self.work / "gen"

    # ---- Protocol Buffers

    def protoc(self) -> list[list[str]]:
        """The commands that make C++ of Caffe's schema, and a description of it that Python reads."""
        folder = self.generated / "caffe" / "proto"
        folder.mkdir(parents=True, exist_ok=True)
        schema = "src/caffe/proto/caffe.proto"
        begin = [self.tools.protoc, "--proto_path=src/caffe/proto"]
        description = f"--descriptor_set_out={self.generated / 'caffe.description'}"
        return [[*begin, f"--cpp_out={folder}", schema], [*begin, description, schema]]

    # ---- compiling

    def objects(self, at_once: int) -> list[Job]:
        """What libcaffe is made of, what takes longest first."""
        units = (
            [*self._units(".cu", at_once), *self._units(".cpp", at_once)] if self.cuda else self._units(".cpp", at_once)
        )
        schema = Job(self._cxx(self.generated / "caffe" / "proto" / "caffe.pb.cc"), self.work / "obj" / "caffe.pb.o", 2)
        return sorted([*units, schema], key=lambda job: -job.cost)

    def programs(self) -> list[Job]:
        """The objects of the programs and of pycaffe, by their sources."""
        sources = [*(f"tools/{name}.cpp" for name in PROGRAMS), "python/caffe/_caffe.cpp"]
        return [Job(self._cxx(Path(each)), self.work / "program" / f"{Path(each).stem}.o", 2) for each in sources]

    def unit_tests(self, together: int) -> list[Job]:
        """The objects of Caffe's own unit tests, so many sources in each."""
        names = sorted(path.name for path in (self.source / "src" / "caffe" / "test").glob("*.cpp"))
        groups = [names[i : i + together] for i in range(0, len(names), together)]
        tests = [
            self._unit(f"test{number:02}", [f"src/caffe/test/{name}" for name in group], ".cpp")
            for number, group in enumerate(groups)
        ]
        gtest = Job(self._cxx(Path("src/gtest/gtest-all.cpp")), self.work / "obj" / "gtest.o", 4)
        return [gtest, *tests]

    def _units(self, ending: str, at_once: int) -> list[Job]:
        wanted = (path.relative_to(self.source) for path in (self.source / "src" / "caffe").rglob(f"*{ending}"))
        names = sorted(path.as_posix() for path in wanted if "/test/" not in path.as_posix())
        if not (self.cuda and self.cuda.cudnn):
            names = [name for name in names if "cudnn" not in Path(name).name]
        alone = [name for name in names if any(part in Path(name).name for part in _ALONE[ending])]
        together = [name for name in names if name not in alone]
        size = next((size for size in _TOGETHER if len(together) >= 2 * size * at_once), 1)
        groups = [[name] for name in alone] + [together[i : i + size] for i in range(0, len(together), size)]
        return [self._unit(f"{number:03}", group, ending) for number, group in enumerate(groups)]

    def _unit(self, name: str, sources: Sequence[str], ending: str) -> Job:
        path = self.work / "unit" / f"{name}{ending}"
        text = "".join(f'#include "{source}"\n' for source in sources)
        if not path.exists() or path.read_text(encoding="ascii") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="ascii")
        compiler = self._nvcc(path) if ending == ".cu" else self._cxx(path)
        cost = (3 if ending == ".cu" else 1) * len(sources) + 2
        return Job(compiler, self.work / "obj" / f"{name}{ending}.o", cost, text)

    @property
    def _words(self) -> list[str]:
        gpu = (["USE_CUDNN"] if self.cuda.cudnn else []) if self.cuda else ["CPU_ONLY"]
        defines = [*_DEFINES, *self.tools.defines, *gpu]
        own = [self.generated, self.source, self.source / "src", self.source / "include"]
        headers = [*map(str, own), *(self.cuda.headers if self.cuda else ())]
        others = [*self.tools.headers, str(self.python.include), str(self.python.numpy)]
        return [
            *(f"-D{define}" for define in defines),
            *(f"-I{header}" for header in headers),
            *(word for header in others for word in ("-isystem", header)),
        ]

    def _cxx(self, source: Path) -> tuple[str, ...]:
        return (self.tools.cxx, "-std=c++17", "-O3", "-fPIC", "-pthread", "-w", *self._words, "-c", str(source))

    def _nvcc(self, source: Path) -> tuple[str, ...]:
        assert self.cuda is not None
        codes = [f"-gencode=arch=compute_{number},code=sm_{number}" for number in self.cuda.arch]
        begin = (self.cuda.nvcc, "-ccbin", self.tools.cxx, "-std=c++17", "-O3", *codes, "-Xcompiler", "-fPIC,-w", "-w")
        return (*begin, *self._words, "-c", str(source))

    # ---- linking

    def library(self, objects: Sequence[Job]) -> Job:
        """libcaffe itself."""
        made = self.folder / "lib" / f"libcaffe.so.{VERSION}"
        inputs = [str(job.made) for job in objects]
        words = ["-shared", *inputs, f"-Wl,-soname,libcaffe.so.{VERSION}", *self._links("lib"), *self.python.links]
        return Job((self.tools.cxx, *words, *linker("-rpath", self.python.library.parent)), made)

    def linked_programs(self) -> list[Job]:
        """The programs, and pycaffe's module."""
        jobs = []
        for name in PROGRAMS:
            made = self.folder / ("libexec" if name == "caffe" else "bin") / name
            words = [str(self.work / "program" / f"{name}.o"), *self.with_caffe("bin"), *self.python.links]
            jobs.append(Job((self.tools.cxx, *words, *linker("-rpath", self.python.library.parent)), made))
        words = ["-shared", str(self.work / "program" / "_caffe.o"), *self.with_caffe("python/caffe")]
        return [*jobs, Job((self.tools.cxx, *words), self.folder / "python" / "caffe" / "_caffe.so")]

    def with_caffe(self, place: str) -> list[str]:
        """The words that link something in the folder `place` of the build with libcaffe, and with what that needs."""
        back = "/".join([".."] * len(Path(place).parts))
        return [f"-L{self.folder / 'lib'}", "-lcaffe", f"-Wl,-rpath,$ORIGIN/{back}/lib", *self._links(place)]

    def _links(self, place: str) -> list[str]:
        back = "/".join([".."] * len(Path(place).parts))
        folders = [*self.tools.folders, *(map(str, self.cuda.folders) if self.cuda else ())]
        inside = [os.path.relpath(each, self.folder) for each in folders if Path(each).is_relative_to(self.folder)]
        libraries = [*self.tools.libraries, *(self.cuda.libraries if self.cuda else ())]
        return [
            "-Wl,--as-needed,--disable-new-dtags,-s",
            "-pthread",
            *(f"-L{each}" for each in folders),
            *(f"-Wl,-rpath,$ORIGIN/{back}/{each}" for each in inside),
            *(word for each in folders for word in linker("-rpath-link", each)),
            *(f"-l{name}" for name in libraries),
        ]
