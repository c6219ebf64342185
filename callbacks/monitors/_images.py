"""Pictures as pillow's images, and as files."""

import io
from typing import Any

from milepost.callbacks._record import Array
from milepost.errors import missing_extra


def as_image(picture: Array) -> Any:
    """Return a picture of shape (height, width, 3), uint8, as an image of pillow's.

    Raises:
        ImportError: pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise missing_extra("pillow", "report") from error
    return Image.fromarray(picture)


def decode_png(file: bytes) -> Any:
    """Return what a PNG file holds as an image of pillow's."""
    try:
        from PIL import Image
    except ImportError as error:
        raise missing_extra("pillow", "report") from error
    return Image.open(io.BytesIO(file))


def encode_png(picture: Array) -> bytes:
    """Return a picture as the bytes of a PNG file."""
    file = io.BytesIO()
    as_image(picture).save(file, "PNG")
    return file.getvalue()
