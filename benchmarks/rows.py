"""The rows of the table: what is measured beside what, at which size, with which aim."""

from collections.abc import Mapping

from benchmarks.data import Data
from benchmarks.row import Row, Section
from benchmarks.side import Side

PML = "pytorch-metric-learning"
CACHE_SIDES = ("cached", "uncached", "filling")
BATCHES, BATCH_SIZE = 1_000, 32
RECORDS = 200
STEPS = 1_000


def sections(*, full: bool, gpu: bool) -> list[Section]:
    """Return the table, at the sizes of the aims if it is full."""
    return [
        knn(full),
        ranking(full),
        match_rates(),
        loop(),
        keras_loop(),
        attach(),
        text_retrieval(),
        cache(),
        monitors(),
        multiplied(full),
        degenerate(),
        disk(full),
        trapped(full),
        on_gpu(full, gpu),
    ]


def sides(case: str, peer: str, data: Data, options: Mapping[str, int]) -> tuple[Side, Side]:
    """Return ours and a peer's on the same data."""
    return Side(case, "milepost", data, dict(options)), Side(case, peer, data, dict(options))


def knn(full: bool) -> Section:
    many, digits, texts = (50_000, 70_000, 6_000) if full else (20_000, 10_000, 4_000)
    table = [("random", many, k) for k in (1, 10, 100)]
    table += [("clustered", many, k) for k in ((1, 10, 100) if full else (10,))]
    table += [("MNIST", digits, 10), ("docstrings", texts, 10)]
    rows = []
    for kind, samples, k in table:
        both = sides("knn", "faiss", Data(kind, samples, 100), {"k": k})
        title = f"k-NN, {thousands(samples)}, k = {k}, {kind}"
        rows.append(Row(title, *both, "faiss", least=0.9))
    return Section("Exact k-NN", "Cosine; every row is a query.", rows)


def ranking(full: bool) -> Section:
    many = 50_000 if full else 20_000
    table = [
        ("clustered", 10_000, 100, 1.0),
        ("clustered", 10_000, 1_000, 1.0),
        ("clustered", many, many // 50, 1.5),
        ("clustered", many, many // 5, 2.0),
        ("MNIST", 20_000 if full else 5_000, 10, 1.0),
        ("docstrings", 6_000 if full else 4_000, 0, 1.0),
    ]
    if full:
        table.insert(2, ("clustered", many, 100, 1.0))
    rows = []
    for kind, samples, classes, least in table:
        both = sides("ranking", PML, Data(kind, samples, classes), {})
        what = f"{classes:,} classes" if kind == "clustered" else kind
        memory = 0.1 if classes == many // 5 else None
        title = f"ranking, {thousands(samples)}, {what}"
        rows.append(Row(title, *both, PML, least=least, memory=memory))
    for peer in ("open-metric-learning", "torchmetrics"):
        both = sides("ranking", peer, Data("clustered", 2_000, 100), {})
        rows.append(Row("ranking, 2k, 100 classes", *both, peer, least=20))
    note = "P@1, R-precision, MAP@R and MRR; open-metric-learning has CMC@1, precision@k and MAP@k."
    return Section("Ranking metrics", note, rows)


def match_rates() -> Section:
    both = sides("match_rates", PML, Data("clustered", 10_000, 1_000), {})
    row = Row("match rates, 10k", *both, PML, least=1.0, memory=1 / 6)
    return Section("Match rates", "Ours gives every threshold, the peer one.", [row])


def loop() -> Section:
    """Return the rows of the loop; a framework is a name here and a function of the case."""
    data = Data("random", BATCHES * BATCH_SIZE, 1)
    rows = []
    for title, ready, least, peers in (
        ("loop, batches", 1, None, ("raw loop", PML, "Lightning", "Transformers")),
        ("loop, data", 0, 4.0, (PML, "Lightning", "Transformers")),
    ):
        for peer in peers:
            both = sides("loop", peer, data, {"batch_size": BATCH_SIZE, "ready": ready})
            rows.append(Row(title, *both, peer, least=least, most_time=60))
    note = (
        f"{BATCHES:,} batches of {BATCH_SIZE} through one linear layer. Batches: each is handed "
        "batches that are made, in the way that is quickest for it. Data: each is handed data in "
        "memory, ours as arrays, the peers a TensorDataset."
    )
    return Section("The loop", note, rows, unit="µs a batch", per_s=1e6 / BATCHES)


def keras_loop() -> Section:
    data = Data("random", BATCHES * BATCH_SIZE, 1)
    rows = []
    for title, batches, least in (
        (f"{BATCHES:,} batches", BATCHES, 1 / 0.75),
        ("one batch", 1, None),
    ):
        options = {"batch_size": BATCH_SIZE, "batches": batches}
        both = sides("keras_loop", "Keras predict", data, options)
        rows.append(Row(title, *both, "Keras predict", least=least))
    note = (
        f"One linear layer in Keras on a tf.data pipeline, in batches of {BATCH_SIZE}; a "
        "millisecond is that of the whole call. With one batch it is the fixed cost of a call."
    )
    return Section("The loop of Keras", note, rows, unit="ms", per_s=1e3)


def attach() -> Section:
    table = {
        "a loop of one's own": "Loop",
        "a loop of one's own, one line": "maybe_run",
        "Lightning": "Lightning",
        "Transformers": "Transformers",
        "Ignite": "Ignite",
        "Accelerate": "Accelerate",
        "Keras": "Keras",
    }
    data, options = Data("random", STEPS, 1), {"steps": STEPS}
    rows = [
        Row(f"attached to {title}", Side("attach", by, data, options), most_time=20)
        for title, by in table.items()
    ]
    note = (
        f"What an attached runner adds to each of {STEPS:,} steps while nothing is due. Trainings "
        "of a trivial model run with it and without, in turn in one process, and the median steps "
        "of both are compared. The steps of Lightning and Transformers take hundreds of "
        "microseconds: on a busy machine the difference wavers by ten."
    )
    return Section("Attached", note, rows, unit="µs a step", per_s=1e6 / STEPS)


def text_retrieval() -> Section:
    both = sides("text_retrieval", "sentence-transformers", Data("random", 500, 1), {})
    row = Row("72 questions, 72 passages", *both, "sentence-transformers", least=0.95)
    note = (
        "The texts of the recipe through MiniLM, and all metrics of the peer's "
        "`InformationRetrievalEvaluator`, which gives the same values. Nearly all is the model."
    )
    return Section("Text retrieval", note, [row])


def cache() -> Section:
    data = Data("random", 20_000, 1)
    rows = []
    for layers in (0, 2, 8):
        options = {"width": 512, "layers": layers}
        found, run, kept = (Side("cache", by, data, options) for by in CACHE_SIDES)
        title = f"20k, {layers} layers of 512"
        least = 2.0 if layers == 8 else None
        rows.append(Row(f"found: {title}", found, run, "run", least=least))
        rows.append(Row(f"kept: {title}", kept, run, "run"))
    note = (
        "One evaluation of a small encoder in batches of 64: found in a cache, or run and kept in "
        "one; beside it the same without."
    )
    headings = ("with a cache", "without", "which")
    return Section("A gallery that is not encoded again", note, rows, headings)


def monitors() -> Section:
    data, options = Data("random", RECORDS, 1), {"scalars": 20}
    rows = []
    for peer in ("W&B", "MLflow"):
        ours, other = (Side("monitors", by, data, options) for by in (f"milepost to {peer}", peer))
        rows.append(Row(f"{peer}, a record of 20 scalars", ours, other, peer, least=0.8))
    note = (
        "Offline, and with SQLite. Ours is the monitor with its record, the peer its own log of "
        "the same scalars, in this process."
    )
    return Section("Monitors", note, rows, unit="µs a record", per_s=1e6 / RECORDS)


def multiplied(full: bool) -> Section:
    samples = 20_000 if full else 8_000
    table: list[tuple[str, str, int, dict[str, int]]] = [
        ("k-NN, k = 10", "knn", 2, {"k": 10}),
        ("ranking", "ranking", 2, {}),
        ("match rates", "match_rates", 2, {}),
    ]
    if full:
        table.append(("match rates", "match_rates", 10, {}))  # 200,000, which no peer can
    rows = []
    for title, case, times, options in table:
        sizes = [Data("clustered", samples * each, samples * each // 20) for each in (1, times)]
        before, after = (Side(case, "milepost", data, options) for data in sizes)
        what, more = f"{title}, {thousands(samples)}", thousands(samples * times)
        rows.append(Row(what, before, after, more, most=1.25 * times**2, memory=2.0))
    note = "Ours alone. Twice the samples are four times the pairs, ten times a hundred times."
    return Section("Work doubled", note, rows, ("before", "after", "samples"), ours=True)


def degenerate() -> Section:
    samples, classes = 5_000, 500
    alike = [(kind, Data(kind, samples, classes)) for kind in ("collapsed", "equal", "zero")]
    labels = [
        ("one class", Data("random", samples, 1)),
        ("a class a sample", Data("random", samples, samples)),
    ]
    table: list[tuple[str, str, list[tuple[str, Data]], dict[str, int]]] = [
        ("k-NN, 5k, k = 10", "knn", alike, {"k": 10}),
        ("ranking, 5k", "ranking", alike + labels, {}),
        ("match rates, 5k", "match_rates", alike + labels, {}),
    ]
    rows = []
    for title, case, others, options in table:
        first = Side(case, "milepost", Data("random", samples, classes), options)
        for named, data in others:
            rows.append(Row(title, first, Side(case, "milepost", data, options), named, most=2.0))
    note = f"Ours alone, beside random data of the same size with {classes} classes."
    headings = ("random", "degenerate", "data")
    return Section("Degenerate data", note, rows, headings, ours=True)


def disk(full: bool) -> Section:
    gallery, budget_mb = (10_000_000, 512) if full else (500_000, 64)
    options = {"gallery": gallery, "k": 100, "budget_mb": budget_mb}
    side = Side("disk", "milepost", Data("random", 1_000, 1), options)
    row = Row(f"gallery of {thousands(gallery)} rows", side, most_mb=budget_mb)
    note = f"Ours alone: 1,000 queries, k = 100, 128 dimensions, with a budget of {budget_mb} MB."
    return Section("Gallery on disk", note, [row])


def trapped(full: bool) -> Section:
    many = 50_000 if full else 20_000
    table: list[tuple[str, str, str, Data, dict[str, int]]] = [
        ("k-NN, {}, k = 10, random", "knn", "faiss", Data("random", many, 100), {"k": 10}),
        ("match rates, {}", "match_rates", PML, Data("clustered", 10_000, 1_000), {}),
    ]
    rows = []
    for title, case, peer, data, options in table:
        ours = Side(case, "milepost beside torch", data, options, trapped=True)
        other = Side(case, peer, data, options, trapped=True)
        rows.append(Row(title.format(thousands(data.samples)), ours, other, peer))
    note = (
        "No claim. OpenBLAS runs the kernels of an old CPU, as it does by itself on some new ones; "
        "the rows of the same names above have this trap mended. Torch is loaded beside ours."
    )
    return Section("As installed, where OpenBLAS is trapped", note, rows)


def on_gpu(full: bool, gpu: bool) -> Section:
    if not gpu:
        return Section("GPU", "There was none (`torch.cuda.is_available()`): not measured.", [])
    samples = 50_000 if full else 20_000
    data = Data("clustered", samples, samples // 50)
    table: list[tuple[str, str, dict[str, int], tuple[str, str]]] = [
        ("k-NN, {}, k = 10", "search", {"k": 10}, ("torch search", "faiss on the CPU")),
        ("ranking, {}", "ranking", {}, ("torch ranking", "PML, faiss on the CPU")),
    ]
    rows = []
    for title, work, options, peers in table:
        first = Side("gpu", f"milepost {work}", data, options)
        for peer in peers:
            other = Side("gpu", peer, data, options)
            rows.append(Row(title.format(thousands(samples)), first, other, peer))
    note = "Wall seconds, and peak memory on the GPU; what runs on the CPU has all its cores."
    return Section("GPU", note, rows)


def thousands(count: int) -> str:
    return f"{count // 1_000_000}M" if count >= 1_000_000 else f"{count // 1_000}k"
