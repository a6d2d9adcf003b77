"""The data layers of our engines: Caffe's order and transform, exact resume, ranks."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from data_layers import (
    COUNT,
    FILE_MEAN,
    MEMORY,
    batches,
    data_text,
    drawn_images,
    hdf5_text,
    image_text,
    layer_of,
    make_layer,
    make_sources,
    one_pass,
    write_lmdb,
)
from frameworks import each_engine
from hypothesis import given, settings
from hypothesis import strategies as st

from fer.engines.core.layers.data import ImageBatches
from fer.engines.core.loaded import Images
from fer.engines.core.order import Order
from fer.engines.interpreter import find_caffe
from fer.engines.pytorch.layers.feed import MemoryData
from fer.engines.pytorch.registry import Context, Layer, Seeds
from fer.errors import FerError
from fer.formats.database import encode_datum
from fer.schema import caffe_pb2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_sources(tmp_path)


# ---- against real Caffe

ORACLE = """
import sys, caffe, numpy as np
net, phase, passes, out = sys.argv[1:]
net = caffe.Net(net, getattr(caffe, phase))
tops = []
for _ in range(int(passes)):
    net.forward()
    tops.append([net.blobs[name].data.copy() for name in ("data", "label")])
np.savez(out, *[np.concatenate(values) for values in zip(*tops)])
"""


def caffe_batches(folder: Path, text: str, phase: str, passes: int) -> list[np.ndarray]:
    """What real Caffe's layer gives in `passes` forward passes."""
    caffe = find_caffe()
    net = folder / "net.prototxt"
    net.write_text(f"layer {{ {text} }}")
    command: list[str | Path] = [caffe.python, "-c", ORACLE, net, phase, str(passes), folder / "out.npz"]
    done = subprocess.run(command, env=caffe.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(folder / "out.npz") as arrays:
        return [arrays["arr_0"], arrays["arr_1"]]


AGREEMENT = {
    "plain": ("gray", "", "TRAIN"),
    "scale": ("gray", "scale: 0.00390625", "TEST"),
    "odd scale": ("gray", "scale: 0.017", "TRAIN"),
    "mean file": ("gray", FILE_MEAN + "scale: 0.03", "TRAIN"),
    "mean file, centre crop": ("gray", FILE_MEAN + "crop_size: 7", "TEST"),
    "mean file, centre crop, scale": ("gray", FILE_MEAN + "crop_size: 6 scale: 0.01", "TEST"),
    "crop as wide as the image": ("gray", FILE_MEAN + "crop_size: 10", "TEST"),
    "mean value": ("gray", "mean_value: 127.5 scale: 0.0078125", "TRAIN"),
    "colour": ("color", 'mean_file: "@/color.mean" crop_size: 9', "TEST"),
    "one mean value for three": ("color", "mean_value: 100.25", "TRAIN"),
    "a mean value a channel": ("color", "mean_value: 104 mean_value: 117 mean_value: 123 crop_size: 8", "TEST"),
    "encoded gray": ("gray_encoded", FILE_MEAN + "crop_size: 7", "TEST"),
    "encoded colour": ("color_encoded", "mean_value: 3", "TRAIN"),
    "force_color": ("gray_encoded", "force_color: true", "TRAIN"),
    "force_gray": ("color_encoded", "force_gray: true scale: 0.5", "TRAIN"),
    "force_gray of what is not encoded": ("color", "force_gray: true", "TRAIN"),
    "floats": ("floats", "scale: 0.3 mean_value: 0.25 crop_size: 4", "TEST"),
}


@each_engine
@pytest.mark.full
@pytest.mark.parametrize("name", AGREEMENT)
def test_data_gives_what_real_caffe_gives(folder: Path, name: str, engine: str) -> None:
    """Twelve batches of 5 of 23 images: the data wraps twice, once within a batch."""
    source, transform, phase = AGREEMENT[name]
    text = data_text(folder, source, 5, transform)
    expected = caffe_batches(folder, text, phase, 12)
    found = batches(layer_of(engine, text, phase), 12)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@each_engine
@pytest.mark.full
@pytest.mark.parametrize("more", ["", "is_color: false", "new_height: 9 new_width: 14", "rand_skip: 1"])
def test_image_data_gives_what_real_caffe_gives(folder: Path, more: str, engine: str) -> None:
    text = image_text(folder, "color", 5, "mean_value: 12 scale: 0.25 crop_size: 8", more)
    for ours, theirs in zip(batches(layer_of(engine, text), 12), caffe_batches(folder, text, "TEST", 12), strict=True):
        # OpenCV's resizing may round otherwise in another version.
        np.testing.assert_allclose(ours, theirs, atol=0.25 if "new_" in more else 0)


@each_engine
@pytest.mark.full
def test_mirror_and_crop_are_drawn_as_in_real_caffe(folder: Path, engine: str) -> None:
    """Every place and mirror comes about as often in both: the images hold their own coordinates."""
    image = np.arange(120, dtype=np.uint8).reshape(1, 12, 10)
    write_lmdb(folder / "same", [encode_datum(image, 0)] * 50)
    for phase, transform in (("TRAIN", "crop_size: 9 mirror: true"), ("TEST", "mirror: true")):
        text = data_text(folder, "same", 50, transform)
        counts = []
        for data in (batches(layer_of(engine, text, phase), 60)[0], caffe_batches(folder, text, phase, 60)[0]):
            places = data[:, 0, 0, 0] * 1000 + data[:, 0, 0, -1]
            counts.append(dict(zip(*np.unique(places, return_counts=True), strict=True)))
        assert counts[0].keys() == counts[1].keys()
        assert len(counts[0]) == (4 * 2 * 2 if phase == "TRAIN" else 2)
        expected = 3000 / len(counts[0])
        for found in counts:
            assert all(abs(n - expected) < 6 * expected**0.5 for n in found.values())


@each_engine
@pytest.mark.full
def test_hdf5_and_dummy_data_give_what_real_caffe_gives(folder: Path, engine: str) -> None:
    hdf5 = hdf5_text(folder, batch=4)
    dummy = (
        'name: "d" type: "DummyData" top: "data" top: "label" dummy_data_param { shape { dim: 2 dim: 3 } '
        "shape { dim: 2 } data_filler { value: 4 } data_filler { value: 2.5 } }"
    )
    old = (
        'name: "d" type: "DummyData" top: "data" top: "label" '
        "dummy_data_param { num: 3 num: 4 channels: 2 height: 1 width: 5 }"
    )
    for text in (hdf5, dummy, old):
        for ours, theirs in zip(
            batches(layer_of(engine, text), 13), caffe_batches(folder, text, "TEST", 13), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


# ---- the transform, by itself


def reference(image: np.ndarray, mean: np.ndarray, top: int, left: int, crop: int, flip: bool) -> np.ndarray:
    """One image's transform, pixel by pixel."""
    out = np.empty((image.shape[0], crop, crop), np.float32)
    for c in range(image.shape[0]):
        for y in range(crop):
            for x in range(crop):
                value = (np.float32(image[c, top + y, left + x]) - mean[c, top + y, left + x]) * np.float32(0.25)
                out[c, y, crop - 1 - x if flip else x] = value
    return out


@pytest.mark.parametrize(("source", "channels"), [("gray", 1), ("color", 3)])
def test_each_drawn_crop_is_one_of_the_possible_ones(folder: Path, source: str, channels: int) -> None:
    """TRAIN: the mean at the crop's own offset, then the mirror; several crops in one batch; laid out channels_last."""
    layer = make_layer(
        data_text(folder, source, 8, f'mean_file: "@/{source}.mean" scale: 0.25 crop_size: 9 mirror: true'), "TRAIN"
    )
    images = drawn_images(channels)
    mean = images.mean(0, dtype=np.float64).astype(np.float32)
    found = set()
    data, labels = layer.forward()
    assert data.is_contiguous(memory_format=torch.channels_last) and labels.dtype == torch.float32
    for row in range(8):
        choices = [
            (top, left, flip) for top in range(4) for left in range(2) for flip in (False, True)
            if np.array_equal(reference(images[row], mean, top, left, 9, flip), data[row].numpy())
        ]  # fmt: skip
        assert len(choices) == 1
        found.update(choices)
    assert len(found) > 3


@each_engine
def test_another_seed_draws_other_crops_and_the_same_seed_the_same(folder: Path, engine: str) -> None:
    text = data_text(folder, "gray", 8, "crop_size: 9 mirror: true")
    one, same, other = (batches(layer_of(engine, text, "TRAIN", seed), 3)[0] for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_float64_for_gradient_checks(folder: Path) -> None:
    data, labels = make_layer(data_text(folder, transform="mean_value: 0.1"), dtype=torch.float64).forward()
    assert data.dtype == labels.dtype == torch.float64


@each_engine
def test_label_is_a_top_of_its_own_choice(folder: Path, engine: str) -> None:
    layer = layer_of(engine, data_text(folder).replace('top: "label"', ""))
    assert [tuple(top.shape) for top in one_pass(layer)] == [(5, 1, 12, 10)]


def decoded(engine: str, text: str, phase: str = "TEST") -> Images:
    layer = layer_of(engine, text, phase)
    assert isinstance(layer, ImageBatches)
    return layer.images


@each_engine
def test_nets_of_one_process_share_the_decoded_images(folder: Path, engine: str) -> None:
    one, two = decoded(engine, data_text(folder)), decoded(engine, data_text(folder, batch=3), "TRAIN")
    assert one is two
    assert decoded(engine, data_text(folder, "color")) is not one


@each_engine
def test_a_database_written_anew_is_read_anew(folder: Path, engine: str) -> None:
    old = decoded(engine, data_text(folder))
    (folder / "gray").rename(folder / "old")
    write_lmdb(folder / "gray", [encode_datum(image, 0) for image in drawn_images(2)])
    assert decoded(engine, data_text(folder)).shape == (2, 12, 10) != old.shape


# ---- order, resume, ranks


def layers_with_a_cursor(folder: Path) -> Iterator[str]:
    yield data_text(folder, "gray", 5, "crop_size: 9 mirror: true")
    yield image_text(folder, "gray", 5, "crop_size: 9 mirror: true", "shuffle: true rand_skip: 7")
    yield hdf5_text(folder, batch=4, more="shuffle: true")


@each_engine
def test_state_resumes_bit_for_bit(folder: Path, engine: str) -> None:
    for text in layers_with_a_cursor(folder):
        layer = layer_of(engine, text, "TRAIN")
        batches(layer, 7)
        state, generators = layer.state(), layer.context.seeds.state()
        expected = batches(layer, 9)
        resumed = layer_of(engine, text, "TRAIN")
        resumed.load_state({key: np.asarray(value) for key, value in state.items()})
        resumed.context.seeds.load_state(generators)
        for one, two in zip(batches(resumed, 9), expected, strict=True):
            np.testing.assert_array_equal(one, two)


@each_engine
def test_seek_goes_where_as_many_batches_would_have_gone(folder: Path, engine: str) -> None:
    for text in layers_with_a_cursor(folder):
        walked, sought = layer_of(engine, text, "TRAIN"), layer_of(engine, text, "TRAIN")
        batches(walked, 11)
        sought.seek(11)
        np.testing.assert_array_equal(batches(walked, 5)[1], batches(sought, 5)[1])


@each_engine
def test_shuffle_gives_every_image_once_an_epoch_in_a_new_order(folder: Path, engine: str) -> None:
    layer = layer_of(engine, image_text(folder, "gray", COUNT, more="is_color: false shuffle: true"), "TRAIN")
    epochs = [one_pass(layer)[0].reshape(COUNT, -1).sum(1) for _ in range(3)]
    whole = np.sort(drawn_images(1).reshape(COUNT, -1).sum(1))
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), whole)
    assert not np.array_equal(epochs[0], epochs[1]) and not np.array_equal(epochs[1], epochs[2])


@each_engine
def test_shuffled_hdf5_keeps_files_together(folder: Path, engine: str) -> None:
    text = hdf5_text(folder, tops="label", batch=COUNT, more="shuffle: true")
    (labels,) = batches(layer_of(engine, text), 6)
    for epoch in labels.reshape(6, COUNT):
        assert sorted(epoch) == list(range(COUNT))
        assert set(epoch[:9]) == set(range(9)) or set(epoch[:14]) == set(range(9, 23))


@given(
    count=st.integers(1, 20), batch=st.integers(1, 45), world=st.integers(1, 4), steps=st.integers(1, 8),
    shuffle=st.booleans(), training=st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_ranks_together_take_what_one_process_takes(
    count: int, batch: int, world: int, steps: int, shuffle: bool, training: bool
) -> None:
    """In TRAIN, rank r takes batches r, r + world, ...; in TEST every rank takes all; also batches beyond the data."""

    def rows(rank: int, of: int, passes: int) -> list[list[int]]:
        seeds = Seeds(3, scope=f"rank {rank}")
        context = Context(phase="TRAIN" if training else "TEST", seeds=seeds, rank=rank, world=of)
        order = Layer(caffe_pb2.LayerParameter(name="data"), context).make_order([count], batch, shuffle=shuffle)
        whole = torch.arange(count)
        return [torch.cat([whole[piece] for piece in order.next()]).tolist() for _ in range(passes)]

    alone = rows(0, 1, steps * world)
    if not shuffle:
        assert alone == np.resize(np.arange(count), (steps * world, batch)).tolist()
    for rank in range(world):
        assert rows(rank, world, steps) == (alone[rank::world] if training else alone[:steps])


@pytest.mark.parametrize("counts", [[1], [2], [33], [5, 1, 8]])
def test_a_new_order_is_drawn_as_pytorch_draws_it(counts: list[int]) -> None:
    """So that the runs that began when it did the drawing go on."""
    order: Order[np.ndarray] = Order("data", counts, sum(counts), 3, np.asarray, shuffle=True)
    starts = np.cumsum([0, *counts])
    for epoch in range(3):
        generator = torch.Generator().manual_seed(Seeds(3).derive(f"data/order/{epoch}"))
        files = torch.randperm(len(counts), generator=generator).tolist()
        expected = [starts[k] + torch.randperm(counts[k], generator=generator).numpy() for k in files]
        found = [piece for piece in order.next() if not isinstance(piece, slice)]
        assert np.concatenate(found).tolist() == np.concatenate(expected).tolist()


# ---- the other sources


@each_engine
def test_dummy_data_fills_anew_what_is_not_constant(engine: str) -> None:
    layer = layer_of(
        engine,
        'name: "d" type: "DummyData" top: "a" top: "b" dummy_data_param { shape { dim: 4 dim: 5 } '
        'data_filler { type: "gaussian" std: 2 } data_filler { value: 3 } }',
    )
    (one, threes), (two, again) = one_pass(layer), one_pass(layer)
    assert not np.array_equal(one, two) and (threes == 3).all() and (again == 3).all()


@each_engine
def test_input_is_zero_until_it_is_given(engine: str) -> None:
    layer = layer_of(engine, 'name: "i" type: "Input" top: "a" top: "b" input_param { shape { dim: 2 dim: 3 } }')
    assert [top.tolist() for top in one_pass(layer)] == [[[0] * 3] * 2] * 2


def test_memory_data_hands_out_what_it_was_given() -> None:
    layer = make_layer(MEMORY)
    assert isinstance(layer, MemoryData)
    data, labels = np.random.default_rng(0).normal(size=(4, 1, 3, 3)).astype(np.float32), np.arange(4)
    layer.set_arrays(data, labels)
    found = batches(layer, 3)
    np.testing.assert_array_equal(found[0], data[[0, 1, 2, 3, 0, 1]])
    assert found[1].tolist() == [0, 1, 2, 3, 0, 1]
    with pytest.raises(FerError, match="no multiple of batch_size 2"):
        layer.set_arrays(data[:3], labels[:3])
    with pytest.raises(FerError, match="needs data of"):
        layer.set_arrays(data[:, :, :2], labels)
