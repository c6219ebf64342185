"""The classification recipe: which digit an image shows, and how sure the model may be.

B is the number of images of a batch.
"""

from typing import final

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from milepost.configs._digits_images import drawn, load_specimens
from milepost.configs.digits import ConvNet

_FOLDS = 5  # one of which is held out
_DIGITS = 10
_SCALE = 16.0  # of embeddings, for logits that can be sure


@final
class DigitImages(TensorDataset):
    """Images of all digits, shape (1, 16, 16), each with its digit.

    Args:
        held_out: whether they are the fifth of the specimens that is held out, or the others.
        copies: how many times each specimen is drawn, tilted and moved anew.
        seed: of tilt, place and noise.
    """

    def __init__(self, *, held_out: bool, copies: int = 1, seed: int = 0) -> None:
        specimens, digits = load_specimens(range(_DIGITS))
        is_held_out = np.arange(len(digits)) % _FOLDS == 0
        kept = np.tile(np.flatnonzero(is_held_out == held_out), copies)
        images = drawn(specimens[kept], seed).astype(np.float32)
        labels = digits[kept].astype(np.int64)
        super().__init__(torch.from_numpy(images)[:, None], torch.from_numpy(labels))


@final
class DigitClassifier(nn.Module):
    """Logits, shape (B, 10), of images, shape (B, 1, 16, 16).

    Args:
        dimension: of the embedding that they are computed from.
    """

    def __init__(self, dimension: int = 64) -> None:
        super().__init__()
        self.embedding = ConvNet(dimension)
        self.head = nn.Linear(dimension, _DIGITS)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(_SCALE * self.embedding(image))
        return logits
