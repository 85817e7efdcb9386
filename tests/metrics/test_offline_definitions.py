import pytest

from metrics.offline_definitions import describe, offline_metric


@pytest.mark.parametrize(
    ("name", "kind", "depth"),
    [("hr@30", "hr", 30), ("exclusive_recall@9999", "exclusive_recall", 9999), ("gflops", "gflops", 0)],
)
def test_names_are_understood(name: str, kind: str, depth: int) -> None:
    """A name is a kind, with a depth if the metric looks into a list."""
    metric, k = offline_metric(name)
    assert (metric.kind, k) == (kind, depth)


@pytest.mark.parametrize(
    "name", ["auc", "recall", "recall@", "recall@0", "recall@-1", "recall@10000", "recall@²", "gflops@3", "gflops@", ""]
)
def test_other_names_are_refused(name: str) -> None:
    """What is no metric, lacks its depth or has one too many is refused with the names there are."""
    with pytest.raises(ValueError, match="is unknown; use hr@k, recall@k") as refused:
        offline_metric(name)
    assert name in str(refused.value)
    assert "tag_validity" in str(refused.value)


def test_definitions_name_their_depth() -> None:
    """The sentence a report shows speaks of the depth that the config asked for."""
    assert "first 17 ranked" in describe("recall@17")["definition"]
    assert describe("recall@17")["group"] == "accuracy"
    assert describe("duplicate_share")["better"] == "lower"
    assert "{" not in describe("tag_diversity")["definition"]
