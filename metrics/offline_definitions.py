"""The metrics of an open-loop evaluation by name: what each says, in words, and how a config may call it.

Knows names and sentences; the formulas are in ``metrics.offline`` and ``metrics.intents``.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

Group = Literal["accuracy", "diversity", "cost"]

MOST_DEEP: Final = 9999


@dataclass(frozen=True)
class OfflineMetric:
    """A metric of an open-loop evaluation; a policy to which it does not apply has no value.

    Attributes:
        kind: its name without a depth.
        group: what kind of question it answers.
        better: "higher", "lower", or "" where neither is.
        definition: one sentence; ``{k}`` stands for the depth.
        deep: whether a depth belongs to the name, as in ``recall@20``.
        unit: of the values, "" for shares.
    """

    kind: str
    group: Group
    better: Literal["higher", "lower", ""]
    definition: str
    deep: bool = False
    unit: str = ""


_METRICS: Final = (
    OfflineMetric(
        "hr",
        "accuracy",
        "higher",
        "whether the category of the next item is among the first {k} distinct categories of the policy's tags, or of "
        "its ranking where it has no tags",
        deep=True,
    ),
    OfflineMetric(
        "recall",
        "accuracy",
        "higher",
        "share of the next items among the first {k} ranked; a policy with two channels ranks the candidates of both "
        "by its estimate of a click",
        deep=True,
    ),
    OfflineMetric(
        "ndcg",
        "accuracy",
        "higher",
        "discounted gain of the next items among the first {k} ranked, 1 for a perfect ranking",
        deep=True,
    ),
    OfflineMetric(
        "exclusive_recall",
        "accuracy",
        "higher",
        "share of the next items that the first {k} of the cognitive channel hold and the first {k} of the utility "
        "channel do not",
        deep=True,
    ),
    OfflineMetric(
        "novelty",
        "diversity",
        "higher",
        "share of the first {k} ranked items that the user had never interacted with",
        deep=True,
    ),
    OfflineMetric(
        "duplicate_share",
        "diversity",
        "lower",
        "share of proposed tags whose category another route or expert had proposed already",
    ),
    OfflineMetric("tag_validity", "diversity", "higher", "share of the tags written that name a category of the shop"),
    OfflineMetric(
        "tag_diversity",
        "diversity",
        "higher",
        "mean cosine distance between the vectors of the chosen tags; the share of distinct categories among them "
        "where a policy under comparison has no vectors",
    ),
    OfflineMetric(
        "explanation_diversity",
        "diversity",
        "higher",
        "1 - mean ROUGE-L of an item's explanation with those that other visits got for the same item",
    ),
    OfflineMetric(
        "prompt_tokens", "cost", "lower", "tokens read for the thoughts behind a visit's page", unit="tokens"
    ),
    OfflineMetric("cached_tokens", "cost", "", "those of them that were read from a cache", unit="tokens"),
    OfflineMetric("generated_tokens", "cost", "lower", "tokens written for these thoughts", unit="tokens"),
    OfflineMetric("gflops", "cost", "lower", "floating-point operations of these thoughts, in billions", unit="GFLOP"),
)

_KINDS: Final = {metric.kind: metric for metric in _METRICS}


def offline_metric(name: str) -> tuple[OfflineMetric, int]:
    """The metric that a config calls ``name``, and its depth (0 where it has none).

    Raises:
        ValueError: there is no such metric; the message lists the known.
    """
    kind, at, depth = name.partition("@")
    metric = _KINDS.get(kind)
    if metric is not None and metric.deep and depth.isascii() and depth.isdigit() and depth[0] != "0":
        if int(depth) <= MOST_DEEP:
            return metric, int(depth)
    elif metric is not None and not metric.deep and not at:
        return metric, 0
    known = ", ".join(f"{each.kind}@k" if each.deep else each.kind for each in _METRICS)
    raise ValueError(f"{name!r} is unknown; use {known}, as in recall@20")


def describe(name: str) -> dict[str, Any]:
    """What a report says of a metric: its group, unit, which way is better, and the definition in words."""
    metric, depth = offline_metric(name)
    return {
        "group": metric.group,
        "unit": metric.unit,
        "better": metric.better,
        "definition": metric.definition.format(k=depth),
    }
