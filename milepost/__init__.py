"""Milepost examines a model at every milepost of its training.

Names are resolved when they are first used: importing this module imports neither a framework nor
a search library.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from milepost import callbacks as callbacks
    from milepost import errors as errors
    from milepost import inferencers as inferencers
    from milepost import neighbors as neighbors
    from milepost import predictors as predictors
    from milepost import runners as runners
    from milepost._compare import compare as compare
    from milepost._inference_model import InferenceModel as InferenceModel
    from milepost._pictures import Pictures as Pictures
    from milepost._report import report as report
    from milepost.callbacks import At as At
    from milepost.callbacks import Budget as Budget
    from milepost.callbacks import Callback as Callback
    from milepost.callbacks import EarlyStop as EarlyStop
    from milepost.callbacks import Every as Every
    from milepost.callbacks import KeepBest as KeepBest
    from milepost.callbacks import Loop as Loop
    from milepost.callbacks import Record as Record
    from milepost.callbacks import at_end as at_end
    from milepost.callbacks import at_start as at_start
    from milepost.callbacks import monitors as monitors
    from milepost.callbacks import trainers as trainers
    from milepost.callbacks.monitors import Csv as Csv
    from milepost.callbacks.monitors import JsonLines as JsonLines
    from milepost.callbacks.monitors import MLflow as MLflow
    from milepost.callbacks.monitors import Monitor as Monitor
    from milepost.callbacks.monitors import ParquetTables as ParquetTables
    from milepost.callbacks.monitors import TensorBoard as TensorBoard
    from milepost.callbacks.monitors import Terminal as Terminal
    from milepost.callbacks.monitors import WandB as WandB
    from milepost.inferencers import BinaryClassificationStats as BinaryClassificationStats
    from milepost.inferencers import Bootstrap as Bootstrap
    from milepost.inferencers import Calibration as Calibration
    from milepost.inferencers import ClassificationError as ClassificationError
    from milepost.inferencers import Clustering as Clustering
    from milepost.inferencers import ConfusionMatrix as ConfusionMatrix
    from milepost.inferencers import EmbeddingHealth as EmbeddingHealth
    from milepost.inferencers import EmbeddingMap as EmbeddingMap
    from milepost.inferencers import Inferencer as Inferencer
    from milepost.inferencers import Items as Items
    from milepost.inferencers import KerasMetric as KerasMetric
    from milepost.inferencers import LabelSets as LabelSets
    from milepost.inferencers import MatchRate as MatchRate
    from milepost.inferencers import NearestCentroid as NearestCentroid
    from milepost.inferencers import PairInferencer as PairInferencer
    from milepost.inferencers import RankedRetrieval as RankedRetrieval
    from milepost.inferencers import Retrieval as Retrieval
    from milepost.inferencers import SaveOutputs as SaveOutputs
    from milepost.inferencers import ScalarStats as ScalarStats
    from milepost.inferencers import SoftmaxVote as SoftmaxVote
    from milepost.inferencers import TorchMetric as TorchMetric
    from milepost.inferencers import Verification as Verification
    from milepost.inferencers import any_shared as any_shared
    from milepost.neighbors import CosineSimilarity as CosineSimilarity
    from milepost.neighbors import DiskIndexer as DiskIndexer
    from milepost.neighbors import DotProductSimilarity as DotProductSimilarity
    from milepost.neighbors import ExactIndexer as ExactIndexer
    from milepost.neighbors import FaissIndexer as FaissIndexer
    from milepost.neighbors import Indexer as Indexer
    from milepost.neighbors import LpDistance as LpDistance
    from milepost.neighbors import MatchFinder as MatchFinder
    from milepost.neighbors import SNRDistance as SNRDistance
    from milepost.predictors import OfflinePredictor as OfflinePredictor
    from milepost.predictors import Predictor as Predictor
    from milepost.predictors import get_predictor as get_predictor
    from milepost.predictors import is_training as is_training
    from milepost.runners import Cache as Cache
    from milepost.runners import InferenceRunner as InferenceRunner
    from milepost.runners import evaluate as evaluate

    __version__: str

_NAMES = {
    "milepost._inference_model": ("InferenceModel",),
    "milepost.runners": ("InferenceRunner", "evaluate", "Cache"),
    "milepost._compare": ("compare",),
    "milepost._pictures": ("Pictures",),
    "milepost._report": ("report",),
    "milepost.callbacks": (
        *("Loop", "Callback", "Record", "KeepBest", "EarlyStop"),
        *("Every", "At", "Budget", "at_start", "at_end"),
    ),
    "milepost.callbacks.monitors": (
        *("Monitor", "Terminal", "JsonLines", "Csv", "ParquetTables", "TensorBoard"),
        *("WandB", "MLflow"),
    ),
    "milepost.inferencers": (
        *("Inferencer", "PairInferencer", "Retrieval", "RankedRetrieval", "MatchRate"),
        *(
            "Verification",
            "ConfusionMatrix",
            "Calibration",
            "NearestCentroid",
            "Clustering",
            "EmbeddingHealth",
        ),
        *("EmbeddingMap", "Items", "SaveOutputs", "TorchMetric", "KerasMetric"),
        *("ScalarStats", "ClassificationError", "BinaryClassificationStats"),
        *("Bootstrap",),
        *("any_shared", "LabelSets", "SoftmaxVote"),
    ),
    "milepost.neighbors": (
        *("MatchFinder", "CosineSimilarity", "DotProductSimilarity", "LpDistance", "SNRDistance"),
        *("Indexer", "FaissIndexer", "ExactIndexer", "DiskIndexer"),
    ),
    "milepost.predictors": ("Predictor", "get_predictor", "OfflinePredictor", "is_training"),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}
_FOLDERS = ("runners", "callbacks", "inferencers", "predictors", "neighbors", "errors")
_PARTS = {x: f"milepost.callbacks.{x}" for x in ("trainers", "monitors")}
_MODULES = _PARTS | {x: f"milepost.{x}" for x in _FOLDERS}

__all__ = [*_MODULE_OF, *_MODULES, "__version__"]


def _resolve(name: str) -> Any:
    import importlib

    if name in _MODULE_OF:
        return getattr(importlib.import_module(_MODULE_OF[name]), name)
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("milepost")
    if name.startswith("__"):  # Python's own probes, such as `__wrapped__`
        raise AttributeError(name)
    unknown_name = importlib.import_module("milepost.errors").unknown_name
    raise AttributeError(str(unknown_name("public name", name, __all__)))


if not TYPE_CHECKING:  # a type checker would take any name at all to exist

    def __getattr__(name: str) -> Any:
        globals()[name] = value = _resolve(name)
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
