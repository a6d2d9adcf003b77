"""What our engines on a framework share: `python -m fer.engines.NAME`, in a process of this Python."""

import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from fer.engines.engine import Say
from fer.engines.interpreter import python_path
from fer.engines.process_engine import ProcessEngine
from fer.errors import FerError
from fer.system.hardware import physical_cores
from fer.system.shell import pip_install


@dataclass(frozen=True)
class OwnEngine(ProcessEngine):
    """An engine on the framework that Python knows as `framework`, which pip installs as `packages`."""

    title: ClassVar[str]
    framework: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    threads_variable: ClassVar[str]
    slow: ClassVar[bool] = False
    """Whether each of its processes takes seconds to start, so that somebody should be told."""

    @property
    def shuffles(self) -> bool:
        return True

    @property
    def keeps_ema(self) -> bool:
        return True

    @classmethod
    def installed(cls) -> bool:
        """Whether this Python has its framework."""
        return importlib.util.find_spec(cls.framework) is not None

    def set_up(self, say: Say | None = None) -> Self:
        if self.command:
            return self
        if not self.installed():
            needs = f"the {self.title} engine needs {self.framework}, which this Python has not"
            raise FerError(f"{needs}\n{pip_install(*self.packages)}")
        if say and self.slow:
            say(f"starting {self.title}, which takes some seconds each time ...")
        threads = os.environ.get(self.threads_variable) or str(physical_cores())
        command = (sys.executable, "-m", f"fer.engines.{self.name}")
        # It works in run directories, whose Python files are no code of ours (nor of those it starts).
        ours = {**python_path("PYTHONPATH"), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": threads}
        return replace(self, command=command, environment={**os.environ, **ours, **self.own_environment(threads)})

    def own_environment(self, threads: str) -> Mapping[str, str]:
        """What its process wants besides."""
        return {}

    def known_types(self, wanted: frozenset[str]) -> frozenset[str]:
        from fer.nets.lint import KNOWN_LAYERS  # here, as the command line goes without it

        return KNOWN_LAYERS - self.lacks if wanted <= KNOWN_LAYERS else self.layer_types()
