"""What the tests of importing share: three tiny trainings by pycaffe alone, as people keep them."""

import json
import subprocess
from pathlib import Path

import lmdb

from fer.engines.interpreter import find_caffe
from fer.formats.database import Database, encode_datum

ORACLE = Path(__file__).parent / "caffe_elsewhere.py"
CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
ORDER = (4, 0, 6, 2, 5, 1, 3)  # the data's class at each place of the DIGITS job
THEIRS = ("Sadness", "anger", "Normal", "Fearful", "Surprised", "Disgusted", "Happiness")
EVIL = b"cos\nsystem\n(S'touch opened'\ntR."

LAYERS = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 4 kernel_size: 5 stride: 3 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip" param { lr_mult: 1 } param { lr_mult: 2 }
  inner_product_param { num_output: 7 weight_filler { type: "xavier" } } }
"""
JUDGES = """
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" include { phase: TEST } }
"""
SOLVER = """net: "train_val.prototxt"
test_iter: 5
test_interval: 20
base_lr: 0.01
lr_policy: "fixed"
display: 10
max_iter: 40
snapshot: 20
random_seed: 3
"""


def data_layers(kind: str, transform: str, sources: tuple[str, str], more: str = "") -> str:
    """The two data layers, of batches of 14 and 7."""
    name = {"Data": "data_param", "ImageData": "image_data_param"}[kind]
    return "".join(
        f'layer {{ name: "data" type: "{kind}" top: "data" top: "label" include {{ phase: {phase} }}\n'
        f"  transform_param {{ {transform} {'mirror: true' * (phase == 'TRAIN')} }}\n"
        f'  {name} {{ source: "{source}" batch_size: {batch} {more} }} }}\n'
        for phase, source, batch in zip(("TRAIN", "TEST"), sources, (14, 7), strict=True)
    )


def deploy(channels: int, side: int, old_input: bool = False) -> str:
    dims = (10, channels, side, side)
    shape = " ".join(f"dim: {dim}" for dim in dims)
    front = f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {shape} }} }} }}'
    if old_input:
        front = 'input: "data" ' + " ".join(f"input_dim: {dim}" for dim in dims)
    return f'{front}{LAYERS}layer {{ name: "prob" type: "Softmax" bottom: "ip" top: "prob" }}\n'


def make_trainings(folder: Path, data: Path) -> Path:
    """folder/bvlc, in the data's order of classes; folder/20160809-112414-0296, a job of DIGITS in its own;
    folder/colour, of 3 channels and another size, with HDF5 snapshots of Adam."""
    cases = [
        _bvlc(folder / "bvlc", data),
        _digits(folder / "20160809-112414-0296", data),
        _colour(folder / "colour", data),
    ]
    (folder / "cases.json").write_text(json.dumps(cases))
    caffe = find_caffe()
    subprocess.run([caffe.python, ORACLE, folder], env=caffe.environment, check=True)
    return folder


def _write(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)


def _bvlc(folder: Path, data: Path) -> dict[str, object]:
    transform = f'scale: 0.00390625 crop_size: 44 mean_file: "{data}/mean.binaryproto"'
    front = data_layers("Data", transform, (f"{data}/train_lmdb", f"{data}/val_lmdb"), "backend: LMDB")
    files = {
        "train_val.prototxt": f'name: "Theirs"\n{front}{LAYERS}{JUDGES}',
        "deploy.prototxt": deploy(1, 44, old_input=True),
        "solver.prototxt": f'{SOLVER}momentum: 0.9\nweight_decay: 0.0005\nsnapshot_prefix: "theirs"\n',
    }
    _write(folder, files)
    return {"folder": str(folder), "log": "caffe.INFO", "old": True}


def _digits(folder: Path, data: Path) -> dict[str, object]:
    transform = 'crop_size: 40 mean_file: "mean.binaryproto"'
    front = data_layers("Data", transform, ("train_db", "val_db"), "backend: LMDB")
    net = f"{front}{LAYERS}{JUDGES}"
    info = {
        "caffe flavor": "NVIDIA", "caffe version": "0.15.9", "digits version": "4.1-dev", "framework": "caffe",
        "image dimensions": [48, 48, 1], "image resize mode": "squash", "labels file": "labels.txt",
    }  # fmt: skip
    files = {
        "train_val.prototxt": net,
        "original.prototxt": net.replace('source: "train_db"', "").replace('source: "val_db"', ""),
        "deploy.prototxt": deploy(1, 40),
        "solver.prototxt": f'{SOLVER}momentum: 0.9\nsolver_type: NESTEROV\nsnapshot_prefix: "snapshot"\n'.replace(
            "0.01", "0.0001"
        ),
        "labels.txt": "\n".join(THEIRS),
        "info.json": json.dumps(info),
    }
    _write(folder, files)
    (folder / "status.pickle").write_bytes(EVIL)
    for split in ("train", "val"):
        with (
            Database(data / f"{split}_lmdb") as images,
            lmdb.open(str(folder / f"{split}_db"), map_size=1 << 26) as made,
            made.begin(write=True) as transaction,
        ):
            for key, image, label in images:
                transaction.put(key.encode(), encode_datum(image, ORDER.index(label)))
    return {"folder": str(folder), "log": "caffe_output.log", "mean": ["train_db", 70, "mean.binaryproto"]}


def _colour(folder: Path, data: Path) -> dict[str, object]:
    more = f'new_height: 40 new_width: 40 root_folder: "{data}/SPLIT/"'
    transform = "crop_size: 36 scale: 0.0078125 mean_value: 104 mean_value: 117 mean_value: 123"
    front = data_layers("ImageData", transform, (f"{data}/train.txt", f"{data}/val.txt"), more)
    front = front.replace("SPLIT", "train", 1).replace("SPLIT", "val", 1)
    files = {
        "train_val.prototxt": f'name: "Colour"\n{front}{LAYERS}{JUDGES}',
        "deploy.prototxt": deploy(3, 36),
        "solver.prototxt": f'{SOLVER}type: "Adam"\nmomentum: 0.9\nsnapshot_format: HDF5\nsnapshot_prefix: "colour"\n',
        "labels.txt": "".join(f"{number} {name}\n" for number, name in enumerate(CLASSES)),
    }
    _write(folder, files)
    return {"folder": str(folder), "log": "log.txt"}


def v0_net(data: Path, phase: str) -> str:
    """The net of folder/bvlc as Caffe of 2013 has it, a file for each phase."""
    source, batch = ("train_lmdb", 14) if phase == "TRAIN" else ("val_lmdb", 7)
    judge, top = ("accuracy", 'top: "accuracy"') if phase == "TEST" else ("softmax_loss", "")
    return f"""name: "Theirs"
layers {{ layer {{ name: "data" type: "data" source: "/gone/{source}" meanfile: "/gone/mean.binaryproto"
  batchsize: {batch} scale: 0.00390625 cropsize: 44 }} top: "data" top: "label" }}
layers {{ layer {{ name: "pad" type: "padding" pad: 0 }} bottom: "data" top: "padded" }}
layers {{ layer {{ name: "conv" type: "conv" num_output: 4 kernelsize: 5 stride: 3 weight_filler {{ type: "xavier" }}
  blobs_lr: 1 blobs_lr: 2 }} bottom: "padded" top: "conv" }}
layers {{ layer {{ name: "relu" type: "relu" }} bottom: "conv" top: "conv" }}
layers {{ layer {{ name: "drop" type: "dropout" }} bottom: "conv" top: "conv" }}
layers {{ layer {{ name: "ip" type: "innerproduct" num_output: 7 weight_filler {{ type: "xavier" }}
  blobs_lr: 1 blobs_lr: 2 }} bottom: "conv" top: "ip" }}
layers {{ layer {{ name: "judge" type: "{judge}" }} bottom: "ip" bottom: "label" {top} }}
"""


V1_DATA = """name: "Theirs"
layers { name: "data" type: DATA top: "data" top: "label" include { phase: PHASE }
  data_param { source: "/gone/DATABASE" batch_size: BATCH mean_file: "mean.npy" scale: 0.00390625 crop_size: 44 } }
"""
V1_LAYERS = """
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" blobs_lr: 1 blobs_lr: 2
  convolution_param { num_output: 4 kernel_size: 5 stride: 3 engine: CUDNN weight_filler { type: "xavier" } } }
layers { name: "relu" type: RELU bottom: "conv" top: "conv" }
layers { name: "drop" type: DROPOUT bottom: "conv" top: "conv" }
layers { name: "ip" type: INNER_PRODUCT bottom: "conv" top: "ip" blobs_lr: 1 blobs_lr: 2
  inner_product_param { num_output: 7 weight_filler { type: "xavier" } } }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "ip" bottom: "label" }
layers { name: "accuracy" type: ACCURACY bottom: "ip" bottom: "label" top: "accuracy" include { phase: TEST } }
"""


def v1_net() -> str:
    """The same as Caffe of 2014 has it."""
    fronts = [
        V1_DATA.replace("PHASE", phase).replace("DATABASE", database).replace("BATCH", str(batch))
        for phase, database, batch in (("TRAIN", "a", 14), ("TEST", "b", 7))
    ]
    return fronts[0] + fronts[1].partition("\n")[2] + V1_LAYERS
