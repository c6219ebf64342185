"""The re-identification recipe: the same specimen of a digit, seen by several cameras."""

from collections.abc import Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from milepost.configs._digits_images import drawn, load_specimens

_CAMERAS = 4
_SHOTS = 2  # of a specimen by each camera


@final
class TrainSightings(TensorDataset):
    """Sightings for a training: images of shape (1, 16, 16), each with its specimen's number.

    Args are those of `Sightings`.
    """

    def __init__(self, classes: Sequence[int], *, specimens: int = 200, seed: int = 0) -> None:
        images, numbers, _ = _sightings(classes, specimens, seed)
        super().__init__(images, torch.from_numpy(numbers))


@final
class Sightings(Dataset[dict[str, Any]]):
    """Sightings: `image` (1, 16, 16), `label` (the specimen's number), `camera`, and `role`.

    Each camera sees each specimen twice: the first is a query, the second is in the gallery.

    Args:
        classes: the digits that specimens are taken from.
        specimens: how many.
        seed: of which, and of what each shot looks like.
    """

    def __init__(self, classes: Sequence[int], *, specimens: int = 200, seed: int = 0) -> None:
        self._images, self._numbers, self._cameras = _sightings(classes, specimens, seed)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, at: int) -> dict[str, Any]:
        return {
            "image": self._images[at],
            "label": int(self._numbers[at]),
            "camera": int(self._cameras[at]),
            "role": "gallery" if at % _SHOTS else "query",
        }


def _sightings(
    classes: Sequence[int], specimens: int, seed: int
) -> tuple[Tensor, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return images (N, 1, 16, 16), the number of each one's specimen, and of its camera."""
    pixels, _ = load_specimens(classes)
    chosen = np.random.default_rng(seed).permutation(len(pixels))[:specimens]
    shots = np.indices((len(chosen), _CAMERAS, _SHOTS)).reshape(3, -1)
    numbers, cameras = shots[0], shots[1]
    images = drawn(pixels[chosen[numbers]], seed)
    for camera in range(_CAMERAS):
        images[cameras == camera] = _through(camera, images[cameras == camera])
    return torch.from_numpy(images.astype(np.float32))[:, None], numbers, cameras


def _through(camera: int, images: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return images as a camera shows them: plain, pale, negative or blurred."""
    from scipy.ndimage import gaussian_filter

    if camera == 1:
        return 0.3 + 0.4 * images
    if camera == 2:
        return 1 - images
    blurred: npt.NDArray[np.float64] = gaussian_filter(images, (0, 0.8, 0.8))
    return blurred if camera == 3 else images
