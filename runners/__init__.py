"""How a model is run over data: feed, prefetch, placement, accounting."""

from milepost.runners._cache import Cache as Cache
from milepost.runners._collect import collect as collect
from milepost.runners._evaluate import evaluate as evaluate
from milepost.runners._runner import InferenceRunner as InferenceRunner
