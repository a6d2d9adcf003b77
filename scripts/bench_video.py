"""How fast `fer predict` goes through a film of 1280 x 720, from the start of the program to its end.

git clone https://github.com/cjdowner/interfaces      # CC0, at 2166b22
python scripts/bench_video.py interfaces [--yunet face_detection_yunet_2026may.onnx]

The films are portraits that move about on a plain ground: a large one, or five small ones. A line for each detector and
film: frames a second by the clock, the best of --rounds, and milliseconds of the processor a frame (all cores added).
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from bench_detectors import read_photos

WIDTH, HEIGHT, RATE = 1280, 720, 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="the clone of interfaces")
    parser.add_argument("--yunet", type=Path, help="a YuNet file to compare with")
    parser.add_argument("--frames", type=int, nargs="+", default=[30, 300])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    photos = [image for image, _ in read_photos(args.photos, 5)]
    detectors: dict[str, list[str]] = {"SSD": [], "cascade": ["--detector", "haar"]}
    if args.yunet:
        detectors["YuNet"] = ["--detector", str(args.yunet.resolve())]
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; frames/s by the clock, processor ms a frame")
    with tempfile.TemporaryDirectory() as folder:
        for faces in (1, 5):
            for count in args.frames:
                film = make_film(Path(folder) / f"{faces}-{count}.mp4", photos[:faces], count)
                for name, options in detectors.items():
                    rounds = [seconds([str(film), *options]) for _ in range(args.rounds)]
                    clock, processor = (min(times) for times in zip(*rounds, strict=True))
                    cells = f"{count / clock:5.1f} frames/s {1000 * processor / count:5.0f} ms"
                    print(f"{faces} faces, {count} frames, {name:8} {cells}", flush=True)


def make_film(path: Path, photos: list[np.ndarray], count: int) -> Path:
    """Photographs side by side, each going up and down, and a little from side to side."""
    side = min(WIDTH // len(photos), 600) - 5
    portraits = [cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA) for photo in photos]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, (WIDTH, HEIGHT))
    for number in range(count):
        frame = np.full((HEIGHT, WIDTH, 3), (110, 120, 125), np.uint8)
        for place, portrait in enumerate(portraits):
            free = (2 * place + 1) * WIDTH / (2 * len(photos)) - side / 2
            x = int(free + 2 * np.sin(number / 12))
            y = int((HEIGHT - side) / 2 * (1 + np.sin(number / 15 + place)))
            frame[y : y + side, x : x + side] = portrait
        writer.write(frame)
    writer.release()
    return path


def seconds(words: list[str]) -> tuple[float, float]:
    """Seconds of `fer predict`, by the clock and of the processor, with a CSV of the faces."""
    began, before = time.monotonic(), os.times()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fer", "predict", *words, "--csv", f"{folder}/faces.csv"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - began, used


if __name__ == "__main__":
    main()
