"""bf16 on a GPU: CUDA's autocast takes other operations to float32 than the CPU's; here the CPU's has its list."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from layer_cases import CASES, Case
from layer_trials import layer_proto
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from fer.engines.pytorch.device import computing
from fer.engines.pytorch.registry import Context, Layer, Seeds, create, known_types

# Of ATen's autocast_mode.h: what CUDA computes in float32 (AT_FORALL_FP32 and AT_FORALL_FP32_SET_OPT_DTYPE).
# fmt: off
CUDA_IN_FLOAT32 = frozenset([
    "__rpow__", "__pow__", "acos", "asin", "cosh", "erfinv", "exp", "expm1", "log", "log10", "log2", "log1p",
    "reciprocal", "rsqrt", "sinh", "tan", "pow", "softplus", "layer_norm", "group_norm", "norm", "nuclear_norm",
    "cosine_similarity", "poisson_nll_loss", "cosine_embedding_loss", "nll_loss", "hinge_embedding_loss", "kl_div",
    "l1_loss", "smooth_l1_loss", "huber_loss", "mse_loss", "margin_ranking_loss", "multilabel_margin_loss",
    "soft_margin_loss", "triplet_margin_loss", "multi_margin_loss", "binary_cross_entropy_with_logits", "dist", "pdist",
    "cdist", "renorm", "logsumexp", "upsample_nearest2d", "prod", "softmax", "log_softmax", "cumprod", "cumsum",
    "vector_norm", "matrix_norm", "sum",
])
# fmt: on


class CudasAutocast(TorchFunctionMode):
    """While the CPU's autocast is on, the functions of CUDA's list get float32."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.is_autocast_enabled("cpu") and getattr(func, "__name__", "") in CUDA_IN_FLOAT32:
            args, kwargs = tree_map_only(Tensor, _widen, (args, kwargs))
        return func(*args, **kwargs)


def _widen(x: Tensor) -> Tensor:
    return x.float() if x.dtype == torch.bfloat16 else x


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def passes(case: Case) -> tuple[Layer, list[Tensor], list[Tensor | None]]:
    """The layer, its tops and its bottoms' gradients, its bottoms being what a layer in bf16 gives."""
    layer = create(layer_proto(case), Context(phase=case.phase, seeds=Seeds(1)))
    layer.setup([bottom.shape for bottom in case.bottoms])
    rng = np.random.default_rng(1)
    bottoms = []
    for bottom in case.bottoms:
        values = torch.from_numpy(bottom.draw(rng, bottom.shape).astype(np.float32))
        learns = bottom.gradient and case.backward
        bottoms.append(values.bfloat16().requires_grad_() if learns else values)
    with computing("bf16", torch.device("cpu")):
        tops = list(layer.forward(*bottoms))
    ends = [top.float().sum() for top in tops if top.requires_grad]
    if ends:
        sum(ends[1:], ends[0]).backward()
    return layer, tops, [bottom.grad for bottom in bottoms]


@pytest.mark.parametrize("number", range(len(CASES)), ids=map(str, CASES))
def test_each_layer_runs_under_cuda_s_autocast(number: int) -> None:
    with CudasAutocast():
        _, tops, gradients = passes(CASES[number])
    _, plain, slopes = passes(CASES[number])  # held against Caffe elsewhere, inf and nan too
    for found, expected in zip([*tops, *gradients], [*plain, *slopes], strict=True):
        assert (found is None) == (expected is None)
        if found is not None and expected is not None:
            assert torch.equal(found.isfinite(), expected.isfinite())


def own_functions() -> list[str]:
    known_types()  # imports every family
    functions = torch.autograd.Function.__subclasses__()
    return sorted(f"{f.__module__}.{f.__qualname__}" for f in functions if f.__module__.startswith("fer."))


@pytest.mark.parametrize("name", own_functions())
def test_an_autograd_function_of_ours_is_the_same_under_either_list(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, _, function = name.rpartition(".")
    calls: list[tuple[torch.dtype, torch.dtype]] = []
    monkeypatch.setattr(f"{module}.{function}.forward", _noting(name, calls))
    tried = 0
    for case in CASES:
        before = len(calls)
        _, tops, gradients = passes(case)
        if len(calls) == before:
            continue
        with CudasAutocast():
            _, other_tops, other_gradients = passes(case)
        for ours, theirs in zip([*tops, *gradients], [*other_tops, *other_gradients], strict=True):
            assert (ours is None) == (theirs is None)
            if ours is not None and theirs is not None:
                assert ours.dtype == theirs.dtype and torch.equal(ours, theirs), str(case)
        tried += 1
    assert tried and all(taken == given for taken, given in calls)


def _noting(name: str, calls: list[tuple[torch.dtype, torch.dtype]]) -> Any:
    module, _, function = name.rpartition(".")
    real = getattr(__import__(module, fromlist=[function]), function).forward

    def forward(ctx: Any, x: Tensor, *rest: Any) -> Tensor:
        top: Tensor = real(ctx, x, *rest)
        calls.append((x.dtype, top.dtype))
        return top

    return staticmethod(forward)
