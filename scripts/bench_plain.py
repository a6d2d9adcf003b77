"""The nets of prototxt/ as one writes them in PyTorch today: stock modules, a Dataset of JPG files, a DataLoader, SGD.

    python scripts/bench_plain.py --net alexnet --data data/fer2013 [--batch 100] [--seconds 20] [--workers 2]
                                  [--precision fp32|bf16]

What the PyTorch engine is measured against (bench_engines.py, bench_gpu.py). Trains for `--seconds` after a warm-up
and prints one line of JSON: images a second, iterations, the last loss. Nothing of fer is imported.
"""

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

CLASSES = 7
CROPS = {"lenet": 44, "alexnet": 44, "alexnet227": 227}
SCALES = {"lenet": 1 / 256, "alexnet": 1 / 64, "alexnet227": 1.0}


class Faces(Dataset[tuple[Tensor, int]]):
    """The train split of a data directory: JPG files named by train.txt, a random crop and mirror, minus the mean."""

    def __init__(self, data: Path, net: str) -> None:
        rows = [line.rsplit(" ", 1) for line in (data / "train.txt").read_text().splitlines()]
        self.files = [data / "train" / name for name, _ in rows]
        self.labels = [int(label) for _, label in rows]
        self.crop, self.scale = CROPS[net], SCALES[net]
        self.side = 256 if self.crop > 48 else 48
        self.mean = np.float32(128)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = cv2.imread(str(self.files[index]), cv2.IMREAD_GRAYSCALE)
        assert image is not None
        if image.shape[0] != self.side:
            image = cv2.resize(image, (self.side, self.side))
        top, left = np.random.randint(0, self.side - self.crop + 1, 2)
        image = image[top : top + self.crop, left : left + self.crop]
        if np.random.randint(2):
            image = image[:, ::-1]
        return torch.from_numpy((image.astype(np.float32) - self.mean) * np.float32(self.scale))[None], self.labels[
            index
        ]


def make_net(name: str) -> nn.Module:
    """The net of prototxt/<name>, as a module; the input has one channel."""
    return {"lenet": _lenet, "alexnet": _alexnet, "alexnet227": _alexnet227}[name]()


def _lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.MaxPool2d(2, ceil_mode=True),
        nn.Conv2d(20, 50, 5), nn.MaxPool2d(2, ceil_mode=True),
        nn.Flatten(), nn.Linear(50 * 8 * 8, 500), nn.ReLU(), nn.Linear(500, CLASSES),
    )  # fmt: skip


def _pool_and_norm(norm_first: bool) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.MaxPool2d(3, 2, ceil_mode=True), nn.LocalResponseNorm(5, 1e-4, 0.75)]
    return layers[::-1] if norm_first else layers


def _alexnet_body(first: nn.Module, norm_first: bool, cells: int, hidden: int) -> nn.Module:
    return nn.Sequential(
        first, nn.ReLU(), *_pool_and_norm(norm_first),
        nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), *_pool_and_norm(norm_first),
        nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Flatten(), nn.Linear(256 * cells, hidden), nn.ReLU(), nn.Dropout(),
        nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, CLASSES),
    )  # fmt: skip


def _alexnet() -> nn.Module:
    return _alexnet_body(nn.Conv2d(1, 96, 7, stride=2, padding=3), norm_first=False, cells=4, hidden=1024)


def _alexnet227() -> nn.Module:
    return _alexnet_body(nn.Conv2d(1, 96, 11, stride=4), norm_first=True, cells=36, hidden=4096)


def batches_of(loader: DataLoader[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor]]:
    """The loader's batches, over and over."""
    for _ in itertools.count():
        yield from loader


class Training:
    """A training loop's inside: one `step` a batch."""

    def __init__(self, net: str, device: torch.device, precision: str = "fp32", channels_last: bool = False) -> None:
        self.device, self.precision = device, precision
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        # torch's types leave memory_format out.
        self.model = make_net(net).to(device, memory_format=self.layout)  # type: ignore[call-overload]
        self.loss = nn.CrossEntropyLoss()
        self.sgd = torch.optim.SGD(
            self.model.parameters(), lr=0.001, momentum=0.9, weight_decay=0.0005, fused=device.type == "cuda"
        )

    def compile(self) -> None:
        """As PyTorch's own pages advise for small batches: kernels of the whole net, replayed as CUDA graphs."""
        self.model = torch.compile(self.model, mode="reduce-overhead")

    def graph(self, images: Tensor, labels: Tensor) -> Callable[[], None]:
        """Capture `step` on a batch whose memory stays, as torch.cuda.graph's page shows; gives its replay."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.step(images, labels)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        self.sgd.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            self.step(images, labels)
        return graph.replay

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        images = images.to(self.device, non_blocking=True, memory_format=self.layout)
        labels = labels.to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            loss: Tensor = self.loss(self.model(images), labels)
        self.sgd.zero_grad()
        loss.backward()
        self.sgd.step()
        return loss.detach()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=CROPS, default="alexnet")
    parser.add_argument("--data", type=Path, default=Path("data/fer2013"))
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--warm-up", type=int, default=10, help="iterations before the clock starts")
    parser.add_argument("--workers", type=int, default=2, help="of the DataLoader")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loader = DataLoader(
        Faces(options.data, options.net),
        options.batch,
        shuffle=True,
        drop_last=True,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
        pin_memory=device.type == "cuda",
    )
    training = Training(options.net, device, options.precision)
    batches = batches_of(loader)
    for _ in range(options.warm_up):
        training.step(*next(batches)).item()
    count, loss, started = 0, torch.zeros(()), time.perf_counter()
    while not count or time.perf_counter() - started < options.seconds:
        loss = training.step(*next(batches))
        count += 1
    last = loss.item()  # waits for the device
    seconds = time.perf_counter() - started
    print(json.dumps({"images_per_second": count * options.batch / seconds, "iterations": count, "loss": last}))


if __name__ == "__main__":
    main()
