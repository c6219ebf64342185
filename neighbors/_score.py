"""The score of a pair of embeddings: what it is, and how a block of them is computed.

d is the dimension, Q and G are the numbers of queries and of gallery rows. A larger score is
closer. Embeddings are float32; other types are converted. The score is `float32(s)` with

- dot: s = sum of q_i g_i;
- cosine: s = sum of u_i v_i, where u = q / |q| and v = g / |g|, rounded to float32; a vector of
  zeros stays one, so its cosine with anything is 0;
- l2: s = - sum of (q_i - g_i)^2, minus the squared Euclidean distance.

Every sum is a float64 *tree sum*: the upper half is added to the lower half, elementwise, until
one number is left, d counted up to a power of two with zeros. It is the same to the bit in NumPy
and torch, on any device, in any block, with any number of threads. Where |s| is at most 2^-36 of
what it could be (|q||g|, for the cosine 1) s counts as 0: orthogonal vectors tie.

A block is computed with a float64 matrix product instead. Its distance from the tree sum is
bounded [Higham, Accuracy and Stability of Numerical Algorithms, 2002, ch. 3] by about
d 2^-53 |q||g|. Where both ends of that interval round to one float32 this is the score; the few
other pairs are computed by the tree sum. On a grid coarse enough for float64 to be exact (pixels,
counts, one-hot vectors) no pair is in doubt.
"""

import math
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from milepost.errors import unknown_name
from milepost.neighbors._backend import Array, Backend, backend_of

if TYPE_CHECKING:
    from milepost.neighbors._ranked_rows import Values

Distance: TypeAlias = Literal["cosine", "dot", "l2"]
"""How near two rows are: cosine, dot product (both: larger is closer) or squared distance."""

Scored: TypeAlias = "Distance | Values"
"""What a score is made of."""

_ZERO = 2.0**-36
_UNIT_ROUNDOFF = 2.0**-53
_CHUNK = 1 << 19  # numbers in a temporary array
_FLOOD = 4  # doubtful pairs a row at which duplicate rows are looked for


def check_distance(distance: str) -> None:
    """Raise an error that lists the distances there are if this is none of them."""
    if distance not in get_args(Distance):
        raise unknown_name("distance", distance, get_args(Distance))


def as_rows(x: Array, name: str, backend: Backend) -> Array:
    """Return embeddings as finite float32 rows, shape (N, d).

    Raises:
        ValueError: it is not a matrix, or has NaN or infinity as float32.
    """
    rows = backend.rows32(x)
    if rows.ndim != 2 or rows.shape[1] == 0:
        msg = f"`{name}` must have shape (rows, dimension), got {tuple(rows.shape)}"
        raise ValueError(msg)
    bad = ~backend.finite_rows(rows)
    if bool(bad.any()):
        first = int(backend.positions(bad)[0][0])
        msg = f"`{name}` must be finite in float32, got NaN or infinity in row {first}"
        raise ValueError(msg)
    return rows


def as_pair_of_rows(queries: Array, gallery: Array) -> tuple[Array, Array, Backend]:
    """Return queries and gallery as finite float32 rows of one dimension, and their backend."""
    backend = backend_of(queries, gallery)
    is_same = queries is gallery  # which a search makes use of
    queries = as_rows(queries, "queries", backend)
    gallery = queries if is_same else as_rows(gallery, "gallery", backend)
    if queries.shape[1] != gallery.shape[1]:
        msg = (
            "`queries` and `gallery` must have one dimension, "
            f"got {queries.shape[1]} and {gallery.shape[1]}"
        )
        raise ValueError(msg)
    return queries, gallery, backend


def tree_sum(x: Array) -> Array:
    """Return the tree sum over the last axis of float64 `x`, which is overwritten."""
    width = x.shape[-1]
    while width > 1:
        half = 1 << ((width - 1).bit_length() - 1)
        x[..., : width - half] += x[..., half:width]
        width = half
    return x[..., 0]


def unit_rows(x: Array, backend: Backend) -> Array:
    """Return float32 rows scaled to length 1, rounded to float32; rows of zeros stay."""
    rows = backend.float64(x)
    norms = backend.sqrt(tree_sum(rows * rows))
    norms[norms == 0] = 1.0
    return backend.round32(rows / norms[:, None])


def prepare(x: Array, distance: Scored, backend: Backend) -> Array:
    """Return the float32 rows that `score_block` compares."""
    return unit_rows(x, backend) if distance == "cosine" else x


def score_block(queries: Array, gallery: Array, distance: Scored, backend: Backend) -> Array:
    """Return the scores of prepared rows, float32 of shape (Q, G).

    Memory: about 60 bytes a pair, and three float64 copies of the rows.
    """
    if not isinstance(distance, str):
        return distance.block(queries, gallery, backend)
    sums, reach, exact = pair_sums(queries, gallery, distance, backend)
    if exact:
        return exact_scores(sums, reach, distance, backend)
    scores, doubt = rounded(sums, reach, queries.shape[1], distance, backend)
    return _settle(scores, doubt, queries, gallery, distance, backend)


def pair_sums(
    queries: Array, gallery: Array, distance: Distance, backend: Backend
) -> tuple[Array, Array | float, bool]:
    """Return float64 sums (Q, G) of prepared rows, by a matrix product.

    Also what their error is relative to, (Q, G) or one number, and whether they have none.
    """
    q, g = backend.float64(queries), backend.float64(gallery)
    exact = _is_on_coarse_grid(q, g, backend)
    if distance == "l2":
        return *_minus_squared_distances(q, g, exact, backend), exact
    reach = 1.0
    if distance == "dot":
        reach = _norms(q, backend)[:, None] * _norms(g, backend)[None, :]
    return q @ g.T, reach, exact


def exact_scores(sums: Array, reach: Array | float, distance: Distance, backend: Backend) -> Array:
    """Return the scores of sums that have no error."""
    return _finish(sums, 0.0 if distance == "l2" else reach * _ZERO, backend)


def score_lists(
    queries: Array, gallery: Array, positions: Array, distance: Distance, backend: Backend
) -> Array:
    """Return the scores of prepared rows with some gallery rows each, float32 (Q, K).

    Memory: 12 bytes a number of the rows that are listed.

    Args:
        queries: float32 (Q, d).
        gallery: float32 (G, d).
        positions: int64 (Q, K), in the gallery.
        distance: what the score is made of.
        backend: what owns the arrays.
    """
    q, g = backend.float64(queries), backend.float64(backend.take(gallery, positions))
    if distance == "l2":
        g -= q[:, None, :]
        g *= g
        reach = g.sum(axis=-1)
        sums = -reach
    else:
        sums, reach = (g @ q[:, :, None])[:, :, 0], 1.0
        if distance == "dot":
            g *= g
            reach = _norms(q, backend)[:, None] * backend.sqrt(g.sum(axis=-1))
    scores, doubt = rounded(sums, reach, q.shape[1], distance, backend)
    if bool(doubt.any()):
        i, j = backend.positions(doubt)
        scores[i, j] = listed_scores(queries, gallery, i, positions[i, j], distance, backend)
    return scores


def pair_scores_of(
    queries: Array, gallery: Array, i: Array, j: Array, distance: Scored, backend: Backend
) -> Array:
    """Return the scores of pairs of prepared rows, given by their positions int64 (P,)."""
    scores = queries[:1, 0].repeat(len(i))
    step = max(1, _CHUNK // (4 * queries.shape[1]))
    for s in (slice(start, start + step) for start in range(0, len(i), step)):
        some = backend.take(queries, i[s])
        if not isinstance(distance, str):
            scores[s] = distance.pairs(some, backend.take(gallery, j[s]), backend)
            continue
        scores[s] = score_lists(some, gallery, j[s, None], distance, backend)[:, 0]
    return scores


def rounded(
    sums: Array, reach: Array | float, dimension: int, distance: Distance, backend: Backend
) -> tuple[Array, Array]:
    """Return float64 sums as scores, and which of them are in doubt."""
    zero = 0.0 if distance == "l2" else reach * _ZERO
    error = reach * relative_error(dimension)
    scores = backend.round32(sums - error) + 0.0  # no negative zero
    doubt = scores != backend.round32(sums + error)
    small = abs(sums) <= zero + error
    if bool(small.any()):
        doubt |= small
        doubt &= abs(sums) + error > zero
        scores[small] = 0.0
    return scores, doubt


def _norms(rows: Array, backend: Backend) -> Array:
    return backend.sqrt(tree_sum(rows * rows))


def relative_error(dimension: int) -> float:
    """Bound the distance of a product or an expanded square from the tree sum.

    gamma_d for the product in any order, 2 gamma_log2(d) for two tree sums, and 16 roundings for
    centring, squares, norms and last additions (at most 12 are made). 1.01 covers gamma's divisor,
    and the length of a unit vector that was rounded.
    """
    return (1.01 * (dimension + 2 * math.log2(dimension)) + 16) * _UNIT_ROUNDOFF


def _minus_squared_distances(
    q: Array, g: Array, exact: bool, backend: Backend
) -> tuple[Array, Array]:
    """Return -|q - g|^2 expanded around a centre, and (|q| + |g|)^2, which bounds its terms."""
    if not exact:
        centre = g.mean(axis=0)
        q, g = q - centre, g - centre
    q_squares, g_squares = tree_sum(q * q)[:, None], tree_sum(g * g)[None, :]
    sums = q @ g.T
    sums *= 2.0
    sums -= q_squares
    sums -= g_squares
    return sums, (backend.sqrt(q_squares) + backend.sqrt(g_squares)) ** 2


def _is_on_coarse_grid(q: Array, g: Array, backend: Backend) -> bool:
    """Return whether float64 computes all sums exactly, in any order.

    All numbers are multiples of one power of two, at most 2^bits of it: four d products of
    2 bits bits each fit into 53 bits.
    """
    bits = (51 - math.ceil(math.log2(q.shape[1]))) // 2

    def fits(rows: Array, largest: float) -> bool:
        step = math.ldexp(1.0, math.frexp(largest)[1] - bits)
        return bool((rows / step == backend.rint(rows / step)).all())

    probe = q[:1]  # its own largest number gives no larger step: one row mostly tells
    if not fits(probe, float(abs(probe).max())):
        return False
    largest = max(float(abs(q).max()), float(abs(g).max()))
    return all(fits(rows, largest) for rows in (g[:1], q, g))


def _finish(sums: Array, zero: Array | float, backend: Backend) -> Array:
    """Return sums as scores: small ones as 0, others rounded to float32."""
    return backend.round32(sums * (abs(sums) > zero)) + 0.0  # no negative zero


def _settle(
    scores: Array,
    doubt: Array,
    queries: Array,
    gallery: Array,
    distance: Distance,
    backend: Backend,
) -> Array:
    """Return scores with those in doubt replaced by the tree sum of their pair."""
    doubtful = backend.count(doubt)
    if doubtful > _FLOOD * sum(doubt.shape):
        unique_q, where_q = backend.unique_rows(queries)
        unique_g, where_g = backend.unique_rows(gallery)
        if 2 * len(unique_q) * len(unique_g) <= len(queries) * len(gallery):
            return score_block(unique_q, unique_g, distance, backend)[where_q][:, where_g]
    if doubtful:
        i, j = backend.positions(doubt)
        scores[i, j] = listed_scores(queries, gallery, i, j, distance, backend)
    return scores


def listed_scores(
    queries: Array, gallery: Array, i: Array, j: Array, distance: Distance, backend: Backend
) -> Array:
    """Return the scores of prepared rows, float32 (P,), at the positions of P pairs."""
    step = max(1, _CHUNK // queries.shape[1])
    parts = [
        tree_scores(queries[i[at : at + step]], gallery[j[at : at + step]], distance, backend)
        for at in range(0, max(1, len(i)), step)
    ]
    return backend.concat(parts, axis=0)


def tree_scores(q: Array, g: Array, distance: Distance, backend: Backend) -> Array:
    """Return the scores of prepared rows, pair by pair, as they are defined."""
    q, g = backend.float64(q), backend.float64(g)
    if distance == "l2":
        return _finish(-tree_sum((q - g) ** 2), 0.0, backend)
    zero = _ZERO * (_norms(q, backend) * _norms(g, backend)) if distance == "dot" else _ZERO
    return _finish(tree_sum(q * g), zero, backend)
