"""One evaluation, from the first batch to the metrics."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any, NamedTuple, final

from tqdm import tqdm

from milepost.callbacks import World
from milepost.inferencers import Bootstrap, Inferencer, Interval, PairInferencer, unit_table
from milepost.predictors import Predictor
from milepost.runners._batch import Batch
from milepost.runners._cache import Cache, CacheRun
from milepost.runners._coverage import Coverage, Ids
from milepost.runners._feed import Draws, Feed, pinned
from milepost.runners._fetch import Fetched, deliver
from milepost.runners._forward import Forward
from milepost.runners._in_step import in_step
from milepost.runners._metrics import (
    compute,
    find_resamples,
    full_names,
    joined,
    resamples_table,
    unique_names,
)
from milepost.runners._prefetch import Prefetch
from milepost.runners._replicas import map_over
from milepost.runners._rounds import merge, scan
from milepost.runners._stages import Stages
from milepost.runners._tables import Tables, flat, gather_tables, metric_columns
from milepost.runners._together import agree


class Result(NamedTuple):
    """What one evaluation gave.

    `metrics` is None where a role had no samples, which `empty` names; `tables` are those of all
    ranks, by inferencer and name, on the chief, and `columns` the names of the metrics that
    columns of theirs hold; `coverage` tells how many samples of each role were seen.
    """

    metrics: dict[str, float] | None
    tables: Tables
    columns: dict[str, dict[str, str]]
    timings: dict[str, float]
    coverage: dict[str, int]
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
        step: how many steps of the training are completed.
        trace_check: whether to verify that the model did not change.
        confidence: how to find the intervals of the metrics; None finds none.
        cache: where outputs of the model are kept for the next run; None keeps none.
        title: what the progress bar shows.
        takes_tables: whether the tables are wanted; the chief's word counts.
        earlier_runs: how many runs of the training there were.
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
        step: int = 0,
        trace_check: bool = False,
        confidence: Bootstrap | None = None,
        cache: Cache | None = None,
        title: str = "",
        takes_tables: bool = False,
        earlier_runs: int = 0,
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
        self._step = step
        self._trace_check = trace_check
        self._confidence = confidence
        self._cache = cache
        self._cached: CacheRun | None = None
        self._title = title
        self._takes_tables = takes_tables
        self._earlier_runs = earlier_runs
        self._keep_evidence = False
        self._stages = Stages()
        self._row_roles: set[str] = set()  # that rows said they play

    def run(self) -> Result:
        """Examine the model; every rank calls it.

        Raises:
            CoverageError: not every declared sample was seen exactly once.
            EvaluationError: the source, the model or an inferencer failed, here or on another rank.
        """
        world = self._world
        wanted = self._takes_tables, self._confidence
        takes_tables, self._confidence = world.broadcast(wanted)  # the chief's word counts
        self._keep_evidence = takes_tables or self._confidence is not None
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
            empty = next((role for role, count in seen.items() if not count), self._lacking())
            metrics, tables, columns = (None, {}, {}) if empty else self._compute()
            agree(world, stack.close)
        timings = self._stages.timings(sum(seen.values())) | self._cache_counts()
        return Result(metrics, tables, columns, timings, seen, predictor.weights, empty)

    def _check(self, own: dict[str, Ids]) -> dict[str, int]:
        """Return how many samples of each role were seen on all ranks, if they were the set."""
        ids, readings = zip(*self._world.gather((own, self._feed.readings())), strict=True)
        coverage = Coverage(self._feed.declared(), shared_ids=self._shared_ids)
        seen = coverage.check(ids)
        self._feed.check(seen, readings)
        return seen

    def _lacking(self) -> str | None:
        """Return a role that an inferencer needs and no row plays, where rows say which they do."""
        roles = set[str]().union(*self._world.gather(self._row_roles))
        first = (inferencer.roles[0] for inferencer in self._inferencers)
        return next((role for role in first if roles and role not in roles), None)

    def _reset(self) -> None:
        for inferencer in self._inferencers:
            inferencer.keep_evidence = self._keep_evidence
            inferencer.earlier_runs = self._earlier_runs
            inferencer.will_resample = self._confidence and self._confidence.over
            inferencer.step = self._step
            if isinstance(inferencer, PairInferencer):
                inferencer.shared_ids = self._shared_ids
                inferencer.max_memory_bytes = self._max_memory_bytes
            inferencer.reset()

    def _pass(self, predictor: Predictor, draws: Sequence[Draws]) -> dict[str, Ids]:
        """Run this rank's share of the batches; return the ids that were seen."""
        coverage = Coverage(self._feed.declared())
        replicas = [predictor.replicate(x) for x in self._devices] or predictor.replicas()
        with ExitStack() as stack:
            if self._cache is not None:
                self._cached = stack.enter_context(CacheRun(self._cache))
            cached = [None if self._cached is None else self._cached.of(x) for x in replicas]
            pairs = zip(replicas, cached, strict=True)
            workers = [Forward(replica, self._inferencers, each) for replica, each in pairs]
            loaded = stack.enter_context(self._load(draws, predictor))
            bar = stack.enter_context(self._progress())
            batches = self._stages.iterate("load", loaded)
            if predictor.is_sharded and self._world.size > 1:
                batches = in_step(batches, self._world)
            with closing(map_over(workers, batches)) as results, self._stages.of("update"):
                for pieces in self._stages.iterate("forward", results):
                    self._deliver(pieces, coverage, bar)
        return coverage.ids()

    def _cache_counts(self) -> dict[str, float]:
        """Return how many samples all ranks found in the cache, and how many they did not."""
        cached = self._cached
        own = None if cached is None else (cached.hits, cached.misses)
        counts = [each for each in self._world.gather(own) if each is not None]
        totals = map(sum, zip(*counts, strict=True))
        return dict(zip(("cache/hits", "cache/misses"), map(float, totals), strict=False))

    def _deliver(self, pieces: Iterable[Fetched], coverage: Coverage, bar: Any) -> None:
        for fetched in pieces:
            if not fetched.batch.is_spare:
                deliver(fetched, self._inferencers)
                coverage.add(fetched.batch.role, fetched.batch.ids)
                if fetched.batch.roles is not None:
                    self._row_roles.update(fetched.batch.roles.tolist())
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

    def _compute(self) -> tuple[dict[str, float], Tables, dict[str, dict[str, str]]]:
        """Return the metrics, the same on every rank; on the chief alone tables and columns."""
        world = self._world
        named = dict(zip(unique_names(self._inferencers), self._inferencers, strict=True))
        own = named if world.is_chief else {}  # the chief computes for all
        with self._stages.of("compute"):
            for inferencer in named.values():
                merge(inferencer, world)
                if isinstance(inferencer, PairInferencer):
                    scan(inferencer, world, self._max_memory_bytes)
            metrics = agree(world, lambda: {name: compute(x) for name, x in own.items()})
        tables: dict[str, Tables] = {}
        if self._keep_evidence:
            with self._stages.of("evidence"):
                tables = {name: gather_tables(x, world) for name, x in named.items()}
        intervals = self._find_intervals(own, tables, metrics)
        columns = metric_columns(tables, full_names(metrics))
        return world.broadcast(joined(metrics, intervals)), flat(tables), columns

    def _find_intervals(
        self,
        inferencers: Mapping[str, Inferencer],
        tables: dict[str, Tables],
        metrics: Mapping[str, Mapping[str, float]],
    ) -> dict[str, dict[str, Interval]]:
        """Return the intervals of the inferencers' metrics, if they are asked for.

        What they are found of joins the tables.
        """
        bootstrap = self._confidence
        if bootstrap is None:
            return {}

        def find() -> dict[str, dict[str, Interval]]:
            intervals = {}
            for name, inferencer in inferencers.items():
                found = find_resamples(bootstrap, inferencer, tables[name], metrics[name])
                if found is not None:
                    intervals[name] = bootstrap.intervals_of(found, unit_table(tables[name]))
                    if table := resamples_table(found, tables[name]):
                        tables[name]["resamples"] = dict(table)
            return intervals

        with self._stages.of("confidence"):
            return agree(self._world, find)


class _Bar(tqdm):  # type: ignore[type-arg]
    """A progress bar that leaves no thread behind."""

    monitor_interval = 0
