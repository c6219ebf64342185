"""Images of handwritten digits for the recipes, the same in every framework."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from milepost import errors

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

_SCALE = 1.6  # a digit of 8 x 8 pixels is drawn at 10 x 10 of 16 x 16


def draw_digits(
    classes: Sequence[int], *, copies: int = 1, orientations: bool = False, seed: int = 0
) -> tuple[Images, Labels]:
    """Return scikit-learn's handwritten digits, each tilted, moved and with noise.

    What is drawn depends on `seed` alone, so that an image is the same whenever it is read.

    Args:
        classes: the digits to keep; each has about 180 images.
        copies: how many times each image is drawn, tilted and moved anew.
        orientations: label an image mirrored or turned by quarters as another class: 8 labels a
            digit, `8 * digit + orientation`, for a model that has few digits to learn from.
        seed: of tilt, place and noise.

    Returns:
        images (N, 16, 16) and labels (N,).

    Raises:
        ImportError: scikit-learn, which holds the images, is not installed.
    """
    specimens, digits = load_specimens(classes)
    kept = np.tile(np.arange(len(digits)), copies)
    images, labels = drawn(specimens[kept], seed), digits[kept]
    if orientations:
        turned = [np.rot90(images, quarters, (1, 2)) for quarters in range(4)]
        images = np.concatenate([*turned, *(image[:, :, ::-1] for image in turned)])
        labels = np.concatenate([8 * labels + orientation for orientation in range(8)])
    return images.astype(np.float32), labels.astype(np.int64)


def load_specimens(classes: Sequence[int]) -> tuple[npt.NDArray[np.float64], Labels]:
    """Return the images of some digits as they were written, (N, 8, 8) in 0 ... 1, and the digits.

    Raises:
        ImportError: scikit-learn, which holds the images, is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise errors.missing_extra("scikit-learn", "demo") from error
    pixels, digits = load_digits(return_X_y=True)
    kept = np.isin(digits, classes)
    return pixels[kept].reshape(-1, 8, 8) / 16, digits[kept]


def drawn(digits: npt.NDArray[np.float64], seed: int) -> npt.NDArray[np.float64]:
    """Return images (N, 16, 16), each tilted by up to 30 degrees and moved, with noise."""
    from scipy.ndimage import affine_transform

    rng = np.random.default_rng(seed)
    tilts = rng.uniform(-math.pi / 6, math.pi / 6, len(digits))
    moves = rng.uniform(-0.3, 0.3, (len(digits), 2))
    images = np.empty((len(digits), 16, 16))
    for image, digit, tilt, move in zip(images, digits, tilts, moves, strict=True):
        turn = np.array([[math.cos(tilt), math.sin(tilt)], [-math.sin(tilt), math.cos(tilt)]])
        matrix = _SCALE / 2 * turn  # from a pixel of the image to one of the digit
        offset = 3.5 + 4 * move - matrix @ np.array([7.5, 7.5])
        affine_transform(digit, matrix, offset, output=image, order=1, mode="grid-constant")
    return images + 0.05 * rng.standard_normal(images.shape)
