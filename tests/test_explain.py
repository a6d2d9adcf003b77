"""Maps of what a net looks at."""

import numpy as np
import pytest
from numpy.typing import NDArray

from fer.evaluation.occlusion import occlusion_maps


def corner_net(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Sees class 0 by the light of the top left quarter alone."""
    height, width = images.shape[2:]
    light = images[:, :, : height // 2, : width // 2].mean(axis=(1, 2, 3)) / 255
    return np.stack([light, 1 - light], axis=1)


@pytest.mark.parametrize("shape", [(1, 48, 48), (3, 30, 44), (1, 5, 5)])
def test_a_map_is_high_where_the_net_looks_and_nowhere_else(shape: tuple[int, int, int]) -> None:
    height, width = shape[1:]
    image = np.zeros(shape, np.uint8)
    image[:, : height // 2, : width // 2] = 255  # its mean gray lies between
    first, second = occlusion_maps(np.stack([image, image]), corner_net, [0, 1])
    assert first.shape == (height, width)
    assert first[: height // 4, : width // 4].min() > 0
    assert first[height // 2 + height // 5 :].max() == 0
    np.testing.assert_allclose(first, -second, atol=1e-6)  # what speaks for one class speaks against the other


def test_every_image_needs_a_class() -> None:
    with pytest.raises(ValueError, match="1 classes"):
        occlusion_maps(np.zeros((2, 1, 8, 8), np.uint8), corner_net, [0])
