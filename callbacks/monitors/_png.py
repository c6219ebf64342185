"""Pictures as files."""

import io

from milepost.callbacks._record import Array
from milepost.errors import missing_extra


def encode_png(picture: Array) -> bytes:
    """Return a picture of shape (height, width, 3), uint8, as the bytes of a PNG file.

    Raises:
        ImportError: pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise missing_extra("pillow", "report") from error
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()
