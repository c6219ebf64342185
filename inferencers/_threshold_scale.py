"""Thresholds as users write them, and the float32 scores that they accept."""

import math
from typing import NamedTuple

import numpy as np

from milepost.neighbors import Distance


class ThresholdScale(NamedTuple):
    """The scale of thresholds: the cosine, the dot product or the Euclidean distance.

    A larger score is closer; for l2 it is minus the squared distance.

    Example:
        >>> ThresholdScale("l2").score_of(1.5), ThresholdScale("l2").threshold_of(-4.0)
        (-2.25, 2.0)
    """

    distance: Distance

    def threshold_of(self, score: float) -> float:
        """Return the threshold that accepts scores of at least this one; NaN: none is accepted."""
        if score == math.inf:
            return math.nan
        return math.sqrt(-score) if self.distance == "l2" else score

    def score_of(self, threshold: float) -> float:
        """Return the smallest float32 score that a threshold accepts."""
        least, most = np.float32(-np.inf), np.float32(np.inf)
        with np.errstate(over="ignore"):
            score = np.float32(threshold if self.distance != "l2" else -(threshold**2))
        while score < most and not self._accepts(threshold, score):
            score = np.nextafter(score, most)
        while score > least and self._accepts(threshold, np.nextafter(score, least)):
            score = np.nextafter(score, least)
        return float(score)

    def _accepts(self, threshold: float, score: np.float32) -> bool:
        if self.distance == "l2":
            return math.sqrt(max(0.0, -float(score))) <= threshold
        return float(score) >= threshold
