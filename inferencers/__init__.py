"""What to compute: inferencers turn the rows of one run into named scalars."""

import typing as _typing

from milepost import _plugins

# The order teaches.
# isort: off
from milepost.inferencers._inferencer import Inferencer as Inferencer
from milepost.inferencers._inferencer import PairInferencer as PairInferencer
from milepost.inferencers._inferencer import Rows as Rows
from milepost.inferencers._inferencer import State as State
from milepost.inferencers._inferencer import Table as Table
from milepost.inferencers._bootstrap import Bootstrap as Bootstrap
from milepost.inferencers._interval import Interval as Interval
from milepost.inferencers._resamples import Resamples as Resamples
from milepost.inferencers._evidence import NO_METRICS as NO_METRICS
from milepost.inferencers._evidence import UNITS as UNITS
from milepost.inferencers._evidence import Over as Over
from milepost.inferencers._evidence import is_mean as is_mean
from milepost.inferencers._evidence import is_same as is_same
from milepost.inferencers._evidence import unit_table as unit_table
from milepost.inferencers._evidence import weighted_means as weighted_means
from milepost.inferencers._evidence import zeros_and_ones as zeros_and_ones
from milepost.inferencers._scalar_stats import ScalarStats as ScalarStats
from milepost.inferencers._classification_error import ClassificationError as ClassificationError
from milepost.inferencers._binary_classification_stats import (
    BinaryClassificationStats as BinaryClassificationStats,
)
from milepost.inferencers._retrieval import Retrieval as Retrieval
from milepost.inferencers._relevance import any_shared as any_shared
from milepost.inferencers._label_sets import LabelSets as LabelSets
from milepost.inferencers._votes import SoftmaxVote as SoftmaxVote
from milepost.inferencers._match_rate import MatchRate as MatchRate
from milepost.inferencers._verification import Verification as Verification
from milepost.inferencers._ranked_retrieval import RankedRetrieval as RankedRetrieval
from milepost.inferencers._confusion_matrix import ConfusionMatrix as ConfusionMatrix
from milepost.inferencers._calibration import Calibration as Calibration
from milepost.inferencers._nearest_centroid import NearestCentroid as NearestCentroid
from milepost.inferencers._clustering import Clustering as Clustering
from milepost.inferencers._embedding_health import EmbeddingHealth as EmbeddingHealth
from milepost.inferencers._embedding_map import EmbeddingMap as EmbeddingMap
from milepost.inferencers._items import Items as Items
from milepost.inferencers._save_outputs import SaveOutputs as SaveOutputs
from milepost.inferencers._torch_metric import TorchMetric as TorchMetric
from milepost.inferencers._keras_metric import KerasMetric as KerasMetric
# isort: on

if not _typing.TYPE_CHECKING:  # a type checker would take any name at all to exist

    def __getattr__(name: str) -> object:
        return _plugins.resolve("inferencers", name, globals())


def __dir__() -> list[str]:
    return sorted({*globals(), *_plugins.registered("inferencers")})
