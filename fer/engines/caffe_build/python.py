"""The Python that a build is for: the one that runs fer."""

import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fer.engines.caffe_build.needs import Library


@dataclass(frozen=True)
class BuildPython:
    """Where its parts lie. `faults` say what a build cannot do without and is not there, `packages` what mends that."""

    executable: Path
    version: str  # "3.11"
    include: Path
    numpy: Path  # NumPy's headers
    library: Path  # libpython, shared
    home: Path
    packages_folder: Path

    @property
    def links(self) -> tuple[str, ...]:
        return (f"-L{self.library.parent}", f"-l{self.library.name.removeprefix('lib').partition('.so')[0]}")

    @property
    def boost(self) -> "Library":
        from fer.engines.caffe_build.needs import Library

        name = f"boost_python{self.version.replace('.', '')}"
        line = "Py_Initialize(); boost::python::object nothing;"
        return Library("Boost.Python", "boost/python.hpp", line, (name,), ("libboost-python-dev",))

    @property
    def faults(self) -> tuple[str, ...]:
        faults = []
        if not (self.include / "Python.h").exists():
            faults.append(f"Python.h of CPython {self.version} (looked for in {self.include})")
        if not self.library.exists():
            faults.append(f"the shared library of CPython {self.version} ({self.library})")
        return tuple(faults)

    @property
    def packages(self) -> tuple[str, ...]:
        """Debian's own Python has its headers in a package; another has to be built with --enable-shared."""
        return (f"python{self.version}-dev",) if self.faults and self.home == Path("/usr") else ()


def this_python() -> BuildPython:
    """The one that runs fer."""
    import numpy as np

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return BuildPython(
        executable=Path(sys.executable),
        version=version,
        include=Path(sysconfig.get_paths()["include"]),
        numpy=Path(np.get_include()),
        library=Path(str(sysconfig.get_config_var("LIBDIR") or ""), f"libpython{version}.so"),
        home=Path(sys.base_prefix),
        packages_folder=Path(sysconfig.get_paths()["purelib"]),
    )
