"""What `fer caffe build` made: pytest --caffe-build DIR --caffe-source DIR, as `make caffe-test` does."""

from pathlib import Path

import pytest
import training

from fer.engines.caffe_build import proof
from fer.engines.caffe_build.builds import Build, build_in
from fer.engines.caffe_build.sources import bring_sources
from fer.errors import FerError
from fer.formats.blobs import from_blob
from fer.formats.prototxt import read_weights
from fer.nets.lint import KNOWN_LAYERS
from fer.system.hashes import file_hash

pytestmark = pytest.mark.full

NORM = 'layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }\nlayer { name: "relu"'
AUGMENT = """layer { name: "augment" type: "Python" bottom: "data" top: "data" include { phase: TRAIN }
  python_param { module: "augment" layer: "Augment" param_str: "rotation: 15, seed: 1" } }
layer { name: "conv\""""


@pytest.fixture
def build(request: pytest.FixtureRequest) -> Build:
    folders: list[Path] = request.config.getoption("--caffe-build")
    if not folders:
        pytest.skip("no build to try: make caffe-test makes one")
    return build_in(folders[0].absolute())


def test_the_proof_refuses_a_caffe_whose_batch_norm_does_not_train(tmp_path: Path) -> None:
    proof.write_images(tmp_path / "images")
    with pytest.raises(FerError, match=r"BatchNorm's update is .* from PyTorch's, which is more than 1e-04"):
        proof._against_pytorch(tmp_path, proof.engine_of_wheel())


def test_every_edit_fits_the_sources(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    source: Path | None = request.config.getoption("--caffe-source")
    if source is None:
        pytest.skip("no sources of Caffe's: give --caffe-source DIR")
    before = file_hash(source / "python" / "caffe" / "io.py")
    bring_sources(tmp_path / "src", source)
    assert file_hash(source / "python" / "caffe" / "io.py") == before  # the user's own are left as they are
    assert file_hash(tmp_path / "src" / "python" / "caffe" / "io.py") != before


def test_it_has_every_layer_type_of_bvlc_and_is_proved_again(build: Build) -> None:
    assert proof.engine_of(build).layer_types() == KNOWN_LAYERS
    proofs = list(proof.prove(build))
    assert [text.partition(":")[0] for text in proofs][:3] == ["caffe --version", "import caffe", "BatchNorm's update"]


def test_it_trains_batch_norm_and_python_layers(
    tmp_path: Path, data: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its pycaffe, and by its executable, in which fer's own Python layer runs too: one seed, the same numbers."""
    (tmp_path / "builds").mkdir()
    (tmp_path / "builds" / "cpu").symlink_to(build.folder)
    monkeypatch.setenv("FER_CAFFE_BUILDS", str(tmp_path / "builds"))
    net = training.NET.replace('layer { name: "relu"', NORM).replace('layer { name: "conv"', AUGMENT)
    files = training.write_net(tmp_path, net=net, max_iter=4, snapshot=2)
    runs = [training.train(*files, data, engine="caffe", seed=1, runs_dir=tmp_path / "runs")]
    monkeypatch.setenv("FER_CAFFE", str(build.executable))
    runs += [training.train(*files, data, engine="caffe", seed=seed, runs_dir=tmp_path / "runs") for seed in (1, 2)]
    last = []
    for run in runs:
        assert run.record.engine == "caffe" and run.record.iteration == 4
        (path,) = (run.dir / "snapshots").glob("*_iter_4.caffemodel")
        (norm,) = (layer for layer in read_weights(path).layer if layer.type == "BatchNorm")
        assert from_blob(norm.blobs[2], "bn").item() > 3  # the four batches that its statistics are of, less what faded
        last.append([blob.SerializeToString() for layer in read_weights(path).layer for blob in layer.blobs])
    assert last[0] == last[1] != last[2]
