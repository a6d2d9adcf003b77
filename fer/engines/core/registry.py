"""A framework's layers by Caffe's type names."""

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from typing import Generic, TypeVar

from fer.engines.core.layer import Context, Layer
from fer.errors import FerError
from fer.schema import caffe_pb2

_Layer = TypeVar("_Layer", bound=Layer)
_Class = TypeVar("_Class", bound=type[Layer])


class Registry(Generic[_Layer]):
    """`package` is the package whose modules register the layers; they are imported on first use."""

    def __init__(self, package: str) -> None:
        self._package = package
        self._classes: dict[str, type[_Layer]] = {}

    def register(self, *types: str) -> Callable[[_Class], _Class]:
        """Class decorator: this class is the layer of Caffe's `types`.

        `Python:Name` is the equivalent of the Python layer whose `python_param.layer` is Name.
        """

        def add(layer: _Class) -> _Class:
            for name in types:
                self._classes[name] = layer  # type: ignore[assignment]  # one TypeVar cannot be bound by another
            return layer

        return add

    def known_types(self) -> frozenset[str]:
        """Every layer type there is."""
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self._package}.{module.name}")
        return frozenset(self._classes)

    def create(self, param: caffe_pb2.LayerParameter, context: Context) -> _Layer:
        """The layer of `param`; FerError with the nearest known types for a type that there is not."""
        types = self.known_types()
        wanted = f"Python:{param.python_param.layer}" if param.type == "Python" else param.type
        if wanted not in types:
            near = difflib.get_close_matches(wanted, types, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known types: {', '.join(sorted(types))}"
            raise FerError(f"layer '{param.name}': Unknown layer type: {wanted} ({hint})")
        return self._classes[wanted](param, context)
