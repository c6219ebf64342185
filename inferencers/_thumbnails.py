"""Small pictures of the arrays that a model is given.

H is the height of a picture, W its width.
"""

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from milepost.errors import missing_extra

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]

_CHANNELS = (1, 3, 4)  # grey, RGB, RGBA


def check_pillow() -> None:
    """Raise unless pictures can be encoded.

    Raises:
        ImportError: pillow is not installed.
    """
    try:
        import PIL.Image  # noqa: F401 - whether it is there
    except ImportError as error:
        raise missing_extra("pillow", "report") from error


def as_pictures(rows: Array, name: str, shape: tuple[int, ...] | None = None) -> Array:
    """Return rows as pictures with channels last, a view: shape (N, H, W, 1 | 3 | 4).

    Args:
        rows: numbers, shape (N, H, W), (N, H, W, 1 | 3 | 4) or (N, 1 | 3, H, W). Where both of the
            latter would do, channels are last.
        name: what the array is called.
        shape: of one picture, where rows hold its pixels in another shape.

    Raises:
        ValueError: they are no such arrays.
    """
    if rows.dtype.kind not in "biuf":
        msg = f"`{name}` must hold the numbers of pictures, got dtype {rows.dtype}"
        raise ValueError(msg)
    if shape is not None and rows.ndim > 0 and rows[:1].size in (0, np.prod(shape)):
        rows = rows.reshape(len(rows), *shape)
    if rows.ndim == 3:
        rows = rows[..., None]
    elif rows.ndim == 4 and rows.shape[3] not in _CHANNELS and rows.shape[1] in _CHANNELS[:2]:
        rows = rows.transpose(0, 2, 3, 1)
    if rows.ndim != 4 or rows.shape[3] not in _CHANNELS or 0 in rows.shape[1:]:
        hint = "" if shape is None else f", which `shape={shape}` does not fit"
        msg = (
            f"`{name}` must hold pictures, shape (N, H, W), (N, H, W, 1 | 3 | 4) or "
            f"(N, 1 | 3, H, W), or flat ones whose `shape=` is given, got {rows.shape}{hint}"
        )
        raise ValueError(msg)
    return rows


def as_bytes(picture: Array) -> Bytes:
    """Return the numbers of a picture as uint8.

    Those of dtype uint8 stay. Others that lie in 0 ... 1 become 0 ... 255; of other pictures the
    smallest number becomes 0 and the largest 255. NaN and infinity become 0.

    Example:
        >>> as_bytes(np.array([0.0, 0.2, 1.0])), as_bytes(np.array([-3, 0, 3]))
        (array([  0,  51, 255], dtype=uint8), array([  0, 128, 255], dtype=uint8))
    """
    if picture.dtype == np.uint8:
        return picture
    numbers = picture.astype(np.float64)
    is_finite = np.isfinite(numbers)
    low, high = numbers.min(where=is_finite, initial=0), numbers.max(where=is_finite, initial=1)
    if low < 0 or high > 1:
        low, high = numbers[is_finite].min(), numbers[is_finite].max()
    scaled = (numbers - low) * (255 / (high - low or 1))
    return np.rint(np.where(is_finite, scaled, 0)).astype(np.uint8)


def as_png(picture: Array, size: int) -> bytes:
    """Return a picture as a PNG file, made smaller so that no side exceeds `size`.

    Args:
        picture: as `as_pictures` gives each.
        size: in pixels, at least 1.
    """
    from PIL import Image

    pixels = np.ascontiguousarray(as_bytes(picture))
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.thumbnail((size, size))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
