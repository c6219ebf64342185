"""Which way a metric is better."""

import re
from typing import Literal, TypeAlias

Mode: TypeAlias = Literal["max", "min"]
"""Whether the largest or the smallest value is the best."""

_LARGER = """
hit_rate recall precision map map_min r_precision mrr ndcg knn_accuracy
match_rate_genuine tar auc best_f1 f1 best_accuracy accuracy fold_accuracy
balanced_accuracy macro_precision macro_recall macro_f1 specificity average_precision roc_auc
centroid_accuracy nmi ami ari
"""
_SMALLER = """
error ece brier nll match_rate_impostor far eer nan_share hubness
"""
_NEITHER = """
queries_without_relevant queries_without_judgements judged genuine_pairs impostor_pairs
threshold eer_threshold best_f1_threshold best_accuracy_threshold far_resolution
fold_accuracy_standard_error norm_mean norm_std norm_min norm_max effective_rank mean_cosine
feature_std alignment uniformity rows_saved
"""
MODES: dict[str, Mode | None] = {
    **dict.fromkeys(_LARGER.split(), "max"),
    **dict.fromkeys(_SMALLER.split(), "min"),
    **dict.fromkeys(_NEITHER.split()),
}
"""The metrics that Milepost defines, without their depths: which way they are better, if any."""

_LAST_WORDS: dict[str, Mode] = {"loss": "min", "error": "min", "accuracy": "max"}
_OF_ANOTHER = ("low", "high", "worst_group")  # stand behind the metric whose way they share


def better(metric: str) -> Mode | None:
    """Return which way a metric is better, by its name; None if that is not known.

    Args:
        metric: its name, with or without what stands before it: the runner, the inferencer, a
            level. Of names that Milepost does not define, those are known whose last word is
            `loss`, `error` or `accuracy`.

    Example:
        >>> better("validation/hit_rate@1"), better("validation/error@5/high")
        ('max', 'min')
        >>> better("val/triplet_loss"), better("val/norm_mean"), better("val/margin")
        ('min', None, None)
    """
    parts = metric.split("/")
    if len(parts) > 1 and parts[-1] in _OF_ANOTHER:
        parts.pop()
    base = parts[-1].partition("@")[0]
    if base in MODES:
        return MODES[base]
    return _LAST_WORDS.get(re.split(r"[^a-z]", base.lower())[-1])
