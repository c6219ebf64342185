"""Votes of the nearest neighbours on a query's label.

Q is the number of queries, K the length of their lists of neighbours.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias, final, get_args

import numpy as np
import numpy.typing as npt

from milepost.errors import unknown_name
from milepost.neighbors import AnyDistance, DistanceMeasure, majority

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_UNIT = 2.0**40  # weights are whole numbers, whose sums are exact; that of the nearest is this
_SLACK = 2**12  # sums that differ by less than 2^-28 of the nearest's are equal but for rounding


@final
@dataclass(frozen=True)
class SoftmaxVote:
    """The k nearest vote by exp(score / temperature) (Wu et al., CVPR 2018; DINO, ICCV 2021).

    Args:
        temperature: above 0; the smaller, the more the nearest decide.

    Example:
        >>> SoftmaxVote(0.1)
        SoftmaxVote(temperature=0.1)
    """

    temperature: float = 0.07

    def __post_init__(self) -> None:
        if not 0 < self.temperature < np.inf:
            msg = f"`temperature` must be a finite number above 0, got {self.temperature!r}"
            raise ValueError(msg)


Vote: TypeAlias = Literal["majority", "softmax", "distance"] | SoftmaxVote


def check_vote(vote: Vote, distance: AnyDistance) -> None:
    """Raise an error unless this is a way to vote, and one for the distance.

    Raises:
        UnknownNameError: it is none.
        ValueError: votes by distance are asked for, and the scores are not distances.
    """
    names = get_args(get_args(Vote)[0])
    if not isinstance(vote, SoftmaxVote) and vote not in names:
        raise unknown_name("vote", str(vote), names)
    is_distance = isinstance(distance, DistanceMeasure) and not distance.is_inverted
    if vote == "distance" and not (is_distance or distance in ("l2", "cosine")):
        msg = f"`vote='distance'` needs 'l2', 'cosine' or another distance, got {distance!r}"
        raise ValueError(msg)


def winner(
    vote: Vote, distance: AnyDistance, labels: Ints, scores: npt.NDArray[np.float32], k: int
) -> Ints:
    """Return the label for which the k nearest vote, (Q,).

    Args:
        vote: how they vote.
        distance: what the scores are made of.
        labels: int64 (Q, K), the neighbours' labels, the nearest first; -1 for no neighbour.
        scores: float32 (Q, K), minus infinity for no neighbour.
        k: voters, at least 1.
    """
    if vote == "majority":
        return np.asarray(majority(labels, k))
    near = scores[:, :k].astype(np.float64)
    if vote == "distance":
        weights = _closeness(near, distance)
    else:
        temperature = SoftmaxVote().temperature if vote == "softmax" else vote.temperature
        weights = np.exp((near - near[:, :1]) / temperature)
    votes = np.rint(weights * _UNIT).astype(np.int64)
    return np.asarray(majority(labels, k, votes, slack=_SLACK))


def _closeness(scores: Floats, distance: AnyDistance) -> Floats:
    """Return the distance of the nearest over that of each; where it is 0, 1 for those at 0."""
    far = -scores
    if isinstance(distance, str):
        far = np.sqrt(far) if distance == "l2" else (1 - scores).clip(min=0)
    weights: Floats = (far == 0).astype(np.float64)
    np.divide(far[:, :1], far, out=weights, where=far > 0)
    return weights
