# /// script
# requires-python = "==3.9.*"
# dependencies = [
#   "kendryte-caffe==1.0.0.20210829", "numpy<2", "protobuf<3.21", "pandas", "lmdb", "opencv-python-headless>=4.8,<4.12",
# ]
# ///
"""The chain people write by hand today, for scripts/bench_prepare.py to time: pandas, imwrite, an LMDB loop, the mean.

    uv run --no-project --script scripts/bench_chain.py fer2013.csv OUT

Runs in the real Caffe's interpreter, with pycaffe's Datum. The last line printed is JSON: seconds a step, without
the imports, and versions.
"""

import json
import sys
import time
from pathlib import Path

import cv2
import google.protobuf
import lmdb
import numpy as np
import pandas as pd
from caffe.proto import caffe_pb2

FOLDERS = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}


def write_images(csv: str, out: Path) -> dict[str, list[tuple[str, int]]]:
    table = pd.read_csv(csv)
    table.columns = [name.strip() for name in table.columns]
    lists: dict[str, list[tuple[str, int]]] = {usage: [] for usage in FOLDERS}
    for usage, folder in FOLDERS.items():
        (out / folder).mkdir(parents=True)
        part = table[table["Usage"] == usage]
        for number, (pixels, label) in enumerate(part[["pixels", "emotion"]].itertuples(index=False)):
            image = np.fromstring(pixels, dtype=np.uint8, sep=" ").reshape(48, 48)
            name = f"{number:05d}.jpg"
            cv2.imwrite(str(out / folder / name), image, [cv2.IMWRITE_JPEG_QUALITY, 100])
            lists[usage].append((name, int(label)))
    for usage, folder in FOLDERS.items():
        with (out / f"{folder}.txt").open("w") as index:
            index.writelines(f"{name} {label}\n" for name, label in lists[usage])
    return lists


def write_databases(out: Path, lists: dict[str, list[tuple[str, int]]]) -> None:
    for usage, folder in FOLDERS.items():
        env = lmdb.open(str(out / f"{folder}_lmdb"), map_size=1 << 40)
        with env.begin(write=True) as transaction:
            for position, (name, label) in enumerate(lists[usage]):
                image = cv2.imread(str(out / folder / name), cv2.IMREAD_GRAYSCALE)
                assert image is not None
                datum = caffe_pb2.Datum()
                datum.channels, datum.height, datum.width = 1, 48, 48
                datum.data = image.tobytes()
                datum.label = label
                datum.encoded = False
                transaction.put(f"{position:08d}_{name}".encode(), datum.SerializeToString())
        env.close()


def write_mean(out: Path) -> None:
    total, count = np.zeros((1, 48, 48)), 0
    env = lmdb.open(str(out / "train_lmdb"), readonly=True)
    with env.begin() as transaction:
        for _, value in transaction.cursor():
            datum = caffe_pb2.Datum.FromString(value)
            total += np.frombuffer(datum.data, np.uint8).reshape(1, 48, 48)
            count += 1
    env.close()
    blob = caffe_pb2.BlobProto(num=1, channels=1, height=48, width=48)
    blob.data.extend((total / count).ravel().tolist())
    with (out / "mean.binaryproto").open("wb") as stream:
        stream.write(blob.SerializeToString())


def main() -> None:
    csv, out = sys.argv[1], Path(sys.argv[2])
    times, cpu = [time.perf_counter()], time.process_time()
    lists = write_images(csv, out)
    times.append(time.perf_counter())
    write_databases(out, lists)
    times.append(time.perf_counter())
    write_mean(out)
    times.append(time.perf_counter())
    steps = {name: times[k + 1] - times[k] for k, name in enumerate(("csv to jpg", "jpg to lmdb", "mean"))}
    versions = {"python": sys.version.split()[0], "numpy": np.__version__, "pandas": pd.__version__,
                "opencv": cv2.__version__, "protobuf": google.protobuf.__version__}  # fmt: skip
    result = {"steps": steps, "seconds": times[-1] - times[0], "cpu": time.process_time() - cpu, "versions": versions}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
