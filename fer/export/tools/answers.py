"""The command line of the tools, and what they answer: to a file of images, with how long one takes, or on stdin; and
how much of what is inside a rougher model of the same net is noise.

Imports numpy alone.
"""

import argparse
import io
import os
import sys
import time
from collections.abc import Callable, Mapping

import numpy as np

TIMED = 50
Read = Callable[[np.ndarray], np.ndarray]
"""One image [1, ...] in, [1, K] or [K] out."""
Blobs = Callable[[np.ndarray], "dict[str, np.ndarray]"]
"""One image [1, ...] in, what a model computes on its way to the answer out, by name."""
Verb = Callable[[argparse.Namespace], None]


def run_tool(
    about: str, reader: Callable[[str], Read], verbs: Mapping[str, Verb], blobs: Callable[[str], Blobs] | None = None
) -> None:
    """`predict` and `serve` by what `reader` makes of a model's file, `noise` by what `blobs` does, if anything, or one
    of the tool's own verbs."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=dict.fromkeys((*verbs, "predict", "serve", *["noise"] * bool(blobs))))
    parser.add_argument("model")
    parser.add_argument("--than")
    parser.add_argument("--images")
    for several in ("--keep", "--blobs"):
        parser.add_argument(several, nargs="*", default=[])
    parser.add_argument("--out")
    args = parser.parse_args()
    if args.verb in verbs:
        verbs[args.verb](args)
    elif args.verb == "serve":
        serve(lambda: reader(args.model))
    elif blobs and args.verb == "noise":
        write_noise(args.out, np.load(args.images), blobs(args.model), blobs(args.than))
    else:
        write_answers(args.out, np.load(args.images), reader(args.model))


def write_answers(path: str, images: np.ndarray, read: Read) -> None:
    """answers.npz: `probs` float32 [N, K] of images one by one, and the median milliseconds of one."""
    answers, seconds = [], []
    for image in images:
        started = time.perf_counter()
        answers.append(np.asarray(read(image[np.newaxis]), np.float32).ravel())
        seconds.append(time.perf_counter() - started)
    np.savez(path, probs=np.stack(answers), milliseconds=1000 * np.median(seconds[-TIMED:]))


def write_noise(path: str, images: np.ndarray, rough: Blobs, exact: Blobs) -> None:
    """N.npz: of each blob that both models have, `ratios` of its signal to its noise in decibels, by `names`."""
    signal: dict[str, float] = {}
    noise: dict[str, float] = {}
    for image in images:
        found = rough(image[np.newaxis])
        for name, blob in exact(image[np.newaxis]).items():
            if name in found and found[name].size == blob.size:
                wanted = blob.astype(np.float64).ravel()
                signal[name] = signal.get(name, 0) + (wanted**2).sum()
                noise[name] = noise.get(name, 0) + ((found[name].astype(np.float64).ravel() - wanted) ** 2).sum()
    names = [name for name in signal if signal[name] > 0 and noise[name] > 0]
    np.savez(path, names=names, ratios=[10 * np.log10(signal[name] / noise[name]) for name in names])


def serve(reader: Callable[[], Read]) -> None:
    """Answer what comes in on stdin, arrays [N, ...], with float32 [N, K] each on stdout, until it ends.

    Each is eight bytes that say how many follow, and a file of .npy's.
    """
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    read = reader()
    while head := sys.stdin.buffer.read(8):
        images = np.load(io.BytesIO(sys.stdin.buffer.read(int.from_bytes(head, "little"))), allow_pickle=False)
        file = io.BytesIO()
        np.save(file, np.stack([np.asarray(read(image[np.newaxis]), np.float32).ravel() for image in images]))
        out.write(len(file.getvalue()).to_bytes(8, "little") + file.getvalue())
        out.flush()
