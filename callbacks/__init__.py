"""When to do something besides the training iterations, and where its results go."""

from milepost.callbacks._better import Mode as Mode
from milepost.callbacks._better import better as better
from milepost.callbacks._callback import Callback as Callback
from milepost.callbacks._callbacks import Callbacks as Callbacks
from milepost.callbacks._early_stop import EarlyStop as EarlyStop
from milepost.callbacks._keep_best import KeepBest as KeepBest
from milepost.callbacks._loop import Loop as Loop
from milepost.callbacks._moment import Moment as Moment
from milepost.callbacks._record import Record as Record
from milepost.callbacks._rundir import prepare_rundir as prepare_rundir
from milepost.callbacks._schedule import At as At
from milepost.callbacks._schedule import Budget as Budget
from milepost.callbacks._schedule import Every as Every
from milepost.callbacks._schedule import Schedule as Schedule
from milepost.callbacks._schedule import Scheduled as Scheduled
from milepost.callbacks._schedule import at_end as at_end
from milepost.callbacks._schedule import at_start as at_start
from milepost.callbacks._schedule import schedule as schedule
from milepost.callbacks._timer import Timer as Timer
from milepost.callbacks._trainer import Trainer as Trainer
from milepost.callbacks._training import Training as Training
from milepost.callbacks._world import Solo as Solo
from milepost.callbacks._world import World as World
from milepost.callbacks._world import current_world as current_world
