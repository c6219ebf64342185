"""The model under inference, at any time in training, without a trace in it."""

from milepost.predictors._arrays import to_numpy as to_numpy
from milepost.predictors._compose import compose as compose
from milepost.predictors._get_predictor import get_predictor as get_predictor
from milepost.predictors._identity import Identity as Identity
from milepost.predictors._identity import Packed as Packed
from milepost.predictors._identity import UnidentifiedError as UnidentifiedError
from milepost.predictors._offline import OfflinePredictor as OfflinePredictor
from milepost.predictors._phase import is_training as is_training
from milepost.predictors._predictor import Predictor as Predictor
