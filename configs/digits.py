"""The digits recipe: a metric-learning split of scikit-learn's handwritten digits.

B is the number of images of a batch, D the number of dimensions of an embedding.
"""

import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from milepost import errors


@final
class Digits(TensorDataset):
    """Handwritten digits, each tilted, moved and with noise: shape (1, 16, 16), with its label.

    What is drawn depends on `seed` alone, so that an image is the same whenever it is read.

    Args:
        classes: the digits to keep; each has about 180 images.
        copies: how many times each image is drawn, tilted and moved anew.
        orientations: label an image mirrored or turned by quarters as another class: 8 labels a
            digit, `8 * digit + orientation`, for a model that has few digits to learn from.
        seed: of tilt, place and noise.

    Raises:
        ImportError: scikit-learn, which holds the images, is not installed.
    """

    def __init__(
        self,
        classes: Sequence[int],
        *,
        copies: int = 1,
        orientations: bool = False,
        seed: int = 0,
    ) -> None:
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise errors.missing_extra("scikit-learn", "demo") from error
        pixels, digits = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
        kept = torch.isin(digits, torch.tensor(list(classes))).nonzero()[:, 0].repeat(copies)
        images = _draw(pixels[kept].float().reshape(-1, 1, 8, 8) / 16, seed)
        labels = digits[kept]
        if orientations:
            turned = [images.rot90(quarters, (2, 3)) for quarters in range(4)]
            images = torch.cat([*turned, *(image.flip(3) for image in turned)])
            labels = torch.cat([8 * labels + orientation for orientation in range(8)])
        super().__init__(images, labels)


def _draw(digits: Tensor, seed: int) -> Tensor:
    """Return images (N, 1, 8, 8) drawn at about 10 of 16 pixels, tilted by up to 30 degrees."""
    count = len(digits)
    generator = torch.Generator().manual_seed(seed)
    tilt = torch.empty(count).uniform_(-math.pi / 6, math.pi / 6, generator=generator)
    move = torch.empty(count, 2).uniform_(-0.3, 0.3, generator=generator)
    cos, sin = tilt.cos(), tilt.sin()
    rows = (cos, -sin, move[:, 0]), (sin, cos, move[:, 1])
    affine = 1.6 * torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
    grid = functional.affine_grid(affine, [count, 1, 16, 16], align_corners=False)
    drawn = functional.grid_sample(digits, grid, align_corners=False)
    return drawn + 0.05 * torch.randn(drawn.shape, generator=generator)


@final
class ConvNet(nn.Module):
    """Embeddings of unit length, shape (B, D), of images, shape (B, 1, 16, 16).

    Args:
        dimension: D.
        width: channels of the first layer; the second has twice as many.
    """

    def __init__(self, dimension: int = 64, width: int = 16) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.head = nn.Linear(2 * width * 4 * 4, dimension)

    def forward(self, image: Tensor) -> Tensor:
        """Return the embeddings."""
        return functional.normalize(self.head(self.backbone(image)), dim=1)


@final
class SupervisedContrastive(nn.Module):
    """The supervised contrastive loss of a batch (Khosla et al., 2020, equation 2).

    For each image, minus the mean over the others of its class of the log of a softmax, over all
    others, of similarity / temperature; then the mean over images that have another of their class.

    Args:
        temperature: the smaller, the more the nearest images count.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of unit embeddings, shape (B, D), with labels, shape (B,)."""
        oneself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        similarity = embeddings @ embeddings.T / self.temperature
        others = similarity.masked_fill(oneself, -torch.inf)
        log_share = similarity - others.logsumexp(dim=1, keepdim=True)
        positive = (labels[:, None] == labels) & ~oneself
        count = positive.sum(dim=1)
        mean = (log_share * positive).sum(dim=1) / count.clamp(min=1)
        return -mean[count > 0].mean()
