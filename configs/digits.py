"""The digits recipe: a metric-learning split of scikit-learn's handwritten digits.

B is the number of images of a batch, D the number of dimensions of an embedding.
"""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from milepost.configs._digits_images import draw_digits


@final
class Digits(TensorDataset):
    """Handwritten digits, each tilted, moved and with noise: shape (1, 16, 16), with its label.

    Args are those of `draw_digits`.
    """

    def __init__(
        self,
        classes: Sequence[int],
        *,
        copies: int = 1,
        orientations: bool = False,
        seed: int = 0,
    ) -> None:
        images, labels = draw_digits(classes, copies=copies, orientations=orientations, seed=seed)
        super().__init__(torch.from_numpy(images)[:, None], torch.from_numpy(labels))


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
