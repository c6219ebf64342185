"""What to compute: inferencers turn the rows of one run into named scalars."""

from milepost.inferencers._inferencer import Inferencer as Inferencer
from milepost.inferencers._inferencer import PairInferencer as PairInferencer
from milepost.inferencers._inferencer import Rows as Rows
from milepost.inferencers._inferencer import State as State
from milepost.inferencers._inferencer import Table as Table
