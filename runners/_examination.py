"""One evaluation, from the first batch to the metrics."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any, NamedTuple, final

from tqdm import tqdm

from milepost.callbacks import World
from milepost.inferencers import Inferencer, PairInferencer
from milepost.predictors import Predictor
from milepost.runners._batch import Batch
from milepost.runners._coverage import Coverage, Ids
from milepost.runners._feed import Draws, Feed, pinned
from milepost.runners._fetch import Fetched, deliver
from milepost.runners._forward import Forward
from milepost.runners._in_step import in_step
from milepost.runners._metrics import compute
from milepost.runners._prefetch import Prefetch
from milepost.runners._replicas import map_over
from milepost.runners._rounds import merge, scan
from milepost.runners._stages import Stages
from milepost.runners._together import agree


class Result(NamedTuple):
    """What one evaluation gave.

    `metrics` is None where a role had no samples, which `empty` names.
    """

    metrics: dict[str, float] | None
    timings: dict[str, float]
    weights: Callable[[], Mapping[str, Any]]
    empty: str | None = None


@final
class Examination:
    """Runs a model over a feed, exactly once, for all inferencers.

    Where several ranks share the work, all examine the chief's model: its buffers (BatchNorm
    statistics), in which the ranks of a training differ, are theirs for the time of the run.

    Args:
        feed: the declared data.
        inferencers: what to compute.
        make_predictor: gives the model under inference.
        world: the ranks that share the work.
        devices: where replicas of the model run; empty for the model's own device.
        prefetch: how many batches are loaded ahead, unless they lie in memory; 0 loads on the
            caller's thread.
        timeout_s: how long to wait for a batch; None waits for ever.
        max_memory_bytes: what the comparison of all pairs may use; None leaves the choice to it.
        shared_ids: whether rows of two roles with the same id are the same item.
        trace_check: whether to verify that the model did not change.
        title: what the progress bar shows.
    """

    def __init__(
        self,
        feed: Feed,
        inferencers: Sequence[Inferencer],
        make_predictor: Callable[[], Predictor],
        world: World,
        *,
        devices: Sequence[Any] = (),
        prefetch: int = 2,
        timeout_s: float | None = None,
        max_memory_bytes: int | None = None,
        shared_ids: bool = False,
        trace_check: bool = False,
        title: str = "",
    ) -> None:
        self._feed = feed
        self._inferencers = inferencers
        self._make_predictor = make_predictor
        self._world = world
        self._devices = devices
        self._prefetch = prefetch
        self._timeout_s = timeout_s
        self._max_memory_bytes = max_memory_bytes
        self._shared_ids = shared_ids
        self._trace_check = trace_check
        self._title = title
        self._stages = Stages()

    def run(self) -> Result:
        """Examine the model; every rank calls it.

        Raises:
            CoverageError: not every declared sample was seen exactly once.
            EvaluationError: the source, the model or an inferencer failed, here or on another rank.
        """
        world = self._world
        predictor = agree(world, self._make_predictor)
        own = agree(world, predictor.buffers)
        shared = world.share(own if world.is_chief else None)
        buffers = None if world.is_chief else shared
        with ExitStack() as stack:
            scope = predictor.scope(trace_check=self._trace_check, buffers=buffers)
            agree(world, lambda: stack.enter_context(scope))
            agree(world, self._reset)
            draws = world.gather(agree(world, self._feed.draw))
            seen = self._check(agree(world, lambda: self._pass(predictor, draws)))
            empty = next((role for role, count in seen.items() if not count), None)
            metrics = None if empty else self._compute()
            agree(world, stack.close)
        timings = self._stages.timings(sum(seen.values()))
        return Result(metrics, timings, predictor.weights, empty)

    def _check(self, own: dict[str, Ids]) -> dict[str, int]:
        """Return how many samples of each role were seen on all ranks, if they were the set."""
        ids, readings = zip(*self._world.gather((own, self._feed.readings())), strict=True)
        coverage = Coverage(self._feed.declared(), shared_ids=self._shared_ids)
        seen = coverage.check(ids)
        self._feed.check(seen, readings)
        return seen

    def _reset(self) -> None:
        for inferencer in self._inferencers:
            if isinstance(inferencer, PairInferencer):
                inferencer.shared_ids = self._shared_ids
                inferencer.max_memory_bytes = self._max_memory_bytes
            inferencer.reset()

    def _pass(self, predictor: Predictor, draws: Sequence[Draws]) -> dict[str, Ids]:
        """Run this rank's share of the batches; return the ids that were seen."""
        coverage = Coverage(self._feed.declared())
        replicas = [predictor.replicate(x) for x in self._devices] or predictor.replicas()
        workers = [Forward(replica, self._inferencers) for replica in replicas]
        with self._load(draws, predictor) as loaded, self._progress() as bar:
            batches = self._stages.iterate("load", loaded)
            if predictor.is_sharded and self._world.size > 1:
                batches = in_step(batches, self._world)
            with closing(map_over(workers, batches)) as results, self._stages.of("update"):
                for pieces in self._stages.iterate("forward", results):
                    self._deliver(pieces, coverage, bar)
        return coverage.ids()

    def _deliver(self, pieces: Iterable[Fetched], coverage: Coverage, bar: Any) -> None:
        for fetched in pieces:
            if not fetched.batch.is_spare:
                deliver(fetched, self._inferencers)
                coverage.add(fetched.batch.role, fetched.batch.ids)
                bar.update(len(fetched.batch))

    @contextmanager
    def _load(self, draws: Sequence[Draws], predictor: Predictor) -> Iterator[Iterable[Batch]]:
        """Read the feed, on a thread if that takes time and it is to run ahead or to be timed."""
        batches = self._feed.open(self._world, draws)
        ready = self._feed.in_memory
        if getattr(predictor.device, "type", None) == "cuda":
            batches, ready = pinned(batches), False
        ahead = self._prefetch and not self._feed.prefetches
        if ready or (not ahead and self._timeout_s is None):
            with closing(batches):
                yield batches
            return
        depth = max(self._prefetch, 1)
        prefetch = Prefetch(
            batches, depth=depth, timeout_s=self._timeout_s, interrupt=self._feed.stop
        )
        try:
            with prefetch:
                yield prefetch
        except Exception as error:
            if prefetch.abandoned:
                error.add_note(f"the thread {prefetch.abandoned!r} hangs and was abandoned")
            raise

    def _progress(self) -> Any:
        sizes = self._feed.declared().values()
        total = None if None in sizes else sum(size or 0 for size in sizes) // self._world.size
        return _Bar(desc=self._title, total=total, unit=" samples", leave=False, disable=None)

    def _compute(self) -> dict[str, float]:
        """Return the metrics, the same on every rank: the chief computes them."""
        with self._stages.of("compute"):
            for inferencer in self._inferencers:
                merge(inferencer, self._world)
                if isinstance(inferencer, PairInferencer):
                    scan(inferencer, self._world, self._max_memory_bytes)
            chief = self._world.is_chief
            metrics = agree(self._world, lambda: compute(self._inferencers) if chief else {})
            return self._world.broadcast(metrics)


class _Bar(tqdm):  # type: ignore[type-arg]
    """A progress bar that leaves no thread behind."""

    monitor_interval = 0
