import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from experiments.config import EvaluationConfig, config_hash
from experiments.evaluation import metric_values
from experiments.replay import Answers, Channels, Explanations, Tags, Visits
from experiments.report import write_report
from experiments.run_directory import CONFIG, EVALUATION, MANIFEST, REPORT
from metrics.offline import ItemLists
from policies.registry import RegisteredPolicy, register_policy
from policies.thoughts import NO_TAG, Thoughts
from simulator.batches import (
    COGNITIVE,
    NO_ITEM,
    UTILITY,
    Candidates,
    InteractionLog,
    ObservedCatalog,
    ObservedUsers,
    Requests,
)
from simulator.datasets.interactions import DatasetError
from simulator.environment.context import ObservedContext
from simulator.parameters import Parameters

Evaluate = Callable[..., SimpleNamespace]

CATEGORY = np.array([0, 0, 1, 1, 2, 2, 3, 3], np.int32)
"""Of items and tags alike, in the hand-made answers."""


def lists(*rows: list[int]) -> ItemLists:
    """Item lists from Python lists."""
    return ItemLists(np.cumsum([0, *map(len, rows)]), np.array([item for row in rows for item in row], np.int64))


def thoughts(tags: list[list[int]], **fields: Any) -> Thoughts:
    """Thoughts with these chosen tags, proposed by two parts alike."""
    chosen = np.array(tags, np.int32)
    n = len(chosen)
    values = {
        "tags": chosen,
        "proposed": np.stack([chosen, chosen], axis=1),
        "generated": np.full(n, 4),
        "invalid": np.arange(n),
        "parts": (("one", "two"),) * n,
        "style": ("",) * n,
        "prompt_tokens": np.full(n, 100),
        "cached_tokens": np.full(n, 60),
        "generated_tokens": np.full(n, 9),
        "flops": np.full(n, 2_500_000_000),
    }
    return Thoughts(**(values | fields))


def answers(tags: Tags | None = None, said: Explanations | None = None) -> Answers:
    """Rankings of two visits, the first of which wants item 5 and the second item 0; two channels if there are tags."""
    ranked = np.array([[1, 3, 5, -1], [6, 7, 2, 0]], np.int32)
    channels = None if tags is None else Channels(ranked[:, :2], ranked[:, 2:])
    return Answers(ranked, lists([1], [6, 7]), channels, tags, said)


VISITS = Visits(np.array([0, 1]), np.array([5, 9]), np.array([0, 0]), lists([5], [0]))


def test_values_of_a_ranking_by_hand() -> None:
    """A policy without tags has the metrics of its ranking, and none of the others."""
    plain = {"plain": answers()}

    def value(name: str) -> Any:
        return metric_values(name, plain, VISITS, CATEGORY)

    assert value("recall@3")["plain"].tolist() == [1, 0]
    assert value("recall@4")["plain"].tolist() == [1, 1]
    assert value("ndcg@3")["plain"].tolist() == [0.5, 0]
    assert value("novelty@3")["plain"].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert value("hr@2")["plain"].tolist() == [0, 0]
    assert value("hr@3")["plain"].tolist() == [1, 1]
    for name in ("exclusive_recall@2", "duplicate_share", "tag_diversity", "explanation_diversity", "gflops"):
        assert value(name) == {}


def test_values_of_thoughts_by_hand() -> None:
    """Tags take the ranking's place in the hit rate; what they are like and what they cost is told by visit."""
    tags = Tags(thoughts([[4, 5, 6], [2, NO_TAG, NO_TAG]]), CATEGORY, None)
    said = Explanations(np.array([[4, 5], [4, 6]]), np.array([[0, 1], [0, 2]]), ("a b", "c", "d"))
    both = {"plain": answers(), "thinks": answers(tags, said)}

    def value(name: str) -> Any:
        return metric_values(name, both, VISITS, CATEGORY)

    assert list(value("hr@1")) == ["plain", "thinks"]
    assert value("hr@1")["thinks"].tolist() == [1, 0]
    assert value("hr@9")["thinks"].tolist() == [1, 0]
    for name, expected in (
        ("exclusive_recall@1", [1, 0]),
        ("exclusive_recall@2", [1, 1]),
        ("duplicate_share", [0.5, 0.5]),
        ("tag_validity", [1, 0.75]),
        ("tag_diversity", [2 / 3, 1]),
        ("explanation_diversity", [0, 0]),
        ("prompt_tokens", [100, 100]),
        ("cached_tokens", [60, 60]),
        ("generated_tokens", [9, 9]),
        ("gflops", [2.5, 2.5]),
    ):
        assert list(value(name)) == ["thinks"], name
        assert value(name)["thinks"].tolist() == pytest.approx(expected), name


def test_diversity_of_tags_is_measured_alike_for_all() -> None:
    """Vectors count if every policy that thinks has them; with one that has none, categories count for all."""
    same = thoughts([[4, 5, 6], [0, 2, NO_TAG]])
    with_vectors = answers(Tags(same, CATEGORY, np.eye(8)))
    without = answers(Tags(same, CATEGORY, None))
    alone = metric_values("tag_diversity", {"a": with_vectors, "plain": answers()}, VISITS, CATEGORY)
    assert alone["a"].tolist() == pytest.approx([1, 1])
    mixed = metric_values("tag_diversity", {"a": with_vectors, "b": without}, VISITS, CATEGORY)
    assert mixed["a"].tolist() == mixed["b"].tolist() == pytest.approx([2 / 3, 1])


def test_a_metric_without_any_value_does_not_apply() -> None:
    """A policy that thinks and explains nothing has no value of what it did not do, and is not compared."""
    nothing = thoughts([[NO_TAG], [NO_TAG]], generated=np.zeros(2, np.int64), invalid=np.zeros(2, np.int64))
    silent = {"silent": answers(Tags(nothing, CATEGORY, None), Explanations(-np.ones((2, 1)), -np.ones((2, 1)), ()))}
    for name in ("duplicate_share", "tag_validity", "tag_diversity", "explanation_diversity"):
        assert metric_values(name, silent, VISITS, CATEGORY) == {}
    assert metric_values("hr@30", silent, VISITS, CATEGORY)["silent"].tolist() == [0, 0]


class ThinkerParams(Parameters):
    """Parameters of the stand-in for a language policy."""

    parts: int = 2
    speaks: bool = True


@register_policy("evaluation_test_thinker")
class Thinker(RegisteredPolicy):
    """Thinks of the categories that are clicked most, with as many parts as it is told, all of one mind."""

    Params: ClassVar[type[Parameters]] = ThinkerParams
    two_channels: ClassVar[bool] = True

    def fit(
        self, log: InteractionLog, catalog: ObservedCatalog, users: ObservedUsers, context: ObservedContext
    ) -> None:
        """Count; a category is its own tag."""
        self.vocabulary = SimpleNamespace(category=np.arange(catalog.categories, dtype=np.int32))
        clicks = np.bincount(catalog.category[log.item], minlength=catalog.categories)
        self.tags = np.argsort(-clicks, kind="stable")[:30].astype(np.int32)
        self.items = np.argsort(-np.bincount(log.item, minlength=catalog.items), kind="stable")[:12].astype(np.int32)
        self.width = 0

    def candidates(self, requests: Requests) -> Candidates:
        """Five items each, the same for everybody, and words for the first of the cognitive ones."""
        self.width = requests.slots * requests.max_pages
        shape = (len(requests), 12)
        items = np.tile(self.items, (len(requests), 1))
        items[:, 10:] = NO_ITEM
        channel = np.full(shape, UTILITY, np.int8)
        channel[:, 5:] = COGNITIVE
        click = np.tile(np.linspace(0.5, 0.1, 12), (len(requests), 1))
        said = np.full(shape, -1, np.int32)
        said[:, 5] = requests.user % 3
        return Candidates(items, click, channel, None, click, click, explanation=said if self.params.speaks else None)

    def explanations(self) -> Sequence[str]:
        """Three sentences."""
        return ("for you", "for a rainy day", "for you and yours")

    def thoughts(self, requests: Requests) -> Thoughts:
        """The same for everybody."""
        n = len(requests)
        return thoughts(
            np.tile(self.tags, (n, 1)).tolist(),
            proposed=np.tile(self.tags, (n, self.params.parts, 1)),
            prompt_tokens=np.full(n, 1000 * self.params.parts),
            invalid=np.zeros(n, np.int64),
        )


@pytest.fixture(scope="module")
def evaluated(evaluate: Evaluate) -> SimpleNamespace:
    """Three policies on a small simulated log."""
    return evaluate()


def check_schema(found: SimpleNamespace) -> None:
    """Version 3: a value and an interval for each policy and metric, and each pair of policies compared once."""
    evaluation, config = found.evaluation, found.config
    assert evaluation["schema"] == 3
    assert evaluation["config_hash"] == config_hash(config)
    assert evaluation["control"] == config.control_name
    assert set(evaluation["policies"]) == set(config.policies)
    for metrics in evaluation["policies"].values():
        assert list(metrics) == list(config.metrics)
        for value in metrics.values():
            assert set(value) == {"value", "ci", "visits"}
            assert value["visits"] == evaluation["requests"]
            assert value["ci"][0] <= value["value"] <= value["ci"][1]
            assert 0 <= value["value"] <= 1
    pairs = [(c["metric"], frozenset((c["a"], c["b"]))) for c in evaluation["comparisons"]]
    assert len(pairs) == len(set(pairs)) == math.comb(len(config.policies), 2) * len(config.metrics)
    for comparison in evaluation["comparisons"]:
        values = [evaluation["policies"][comparison[side]][comparison["metric"]]["value"] for side in "ab"]
        assert comparison["effect"] == pytest.approx(values[1] - values[0])
        assert comparison["ci"][0] <= comparison["effect"] <= comparison["ci"][1]
    check_family(evaluation, config)
    assert list(evaluation["metrics"]) == list(config.metrics)
    assert evaluation["strata"] == {}
    assert evaluation["held_out"] == evaluation["requests"] >= evaluation["users"] > 0
    assert json.loads((found.path / EVALUATION).read_text(encoding="utf-8")) == evaluation


def check_family(evaluation: dict[str, Any], config: EvaluationConfig) -> None:
    """P-values over all visits are corrected as one family, of every metric together, fine enough to be told at all."""
    family, rows = evaluation["family"], evaluation["comparisons"]
    plain = [row["p_value"] for row in rows]
    assert family["correction"] == "holm"
    assert family["comparisons"] == len([p for p in plain if p is not None])
    assert [row["p_adjusted"] for row in rows] == pytest.approx(multipletests(plain, method="holm")[1].tolist())
    assert family["replicates"] >= config.replicates
    assert family["smallest_p_adjusted"] == pytest.approx(2 * len(rows) / (family["replicates"] + 1))
    assert family["smallest_p_adjusted"] < config.alpha
    assert min(plain) >= 2 / (family["replicates"] + 1)


def test_evaluation_has_the_schema(evaluated: SimpleNamespace) -> None:
    """What other programs read is there under its name."""
    check_schema(evaluated)
    assert sorted(file.name for file in evaluated.path.iterdir() if file.name != REPORT) == sorted(
        [CONFIG, EVALUATION, MANIFEST]
    )
    assert evaluated.directory.complete
    assert evaluated.steps.done == evaluated.steps.totals


def test_learning_pays_offline(evaluated: SimpleNamespace) -> None:
    """On a simulated log the personal policy finds more of what was clicked than popularity, and that than chance."""
    recall = {name: metrics["recall@20"]["value"] for name, metrics in evaluated.evaluation["policies"].items()}
    assert recall["utility"] > 1.5 * recall["popularity"] > 1.5 * recall["random"]


def test_processes_do_not_matter(evaluate: Evaluate, evaluated: SimpleNamespace) -> None:
    """One process or two leave the same bytes."""
    by_two = evaluate(workers=2)
    assert (evaluated.path / EVALUATION).read_bytes() == (by_two.path / EVALUATION).read_bytes()
    assert by_two.steps.done == by_two.steps.totals


def test_control_can_be_named(evaluate: Evaluate, evaluated: SimpleNamespace) -> None:
    """The named policy comes first and is what the others are held against; values stay what they are."""
    other = evaluate(control="random", metrics=["recall@20"])
    assert next(iter(other.evaluation["policies"])) == "random"
    for name, metrics in other.evaluation["policies"].items():
        assert metrics["recall@20"]["value"] == evaluated.evaluation["policies"][name]["recall@20"]["value"]


def test_report_is_written_from_the_evaluation(evaluated: SimpleNamespace) -> None:
    """What an evaluation leaves is what the report reads."""
    text = write_report(evaluated.directory).read_text(encoding="utf-8")
    assert all(name in text for name in evaluated.config.policies)


def test_nobody_returning_is_said(evaluate: Evaluate) -> None:
    """Held-out days without a returning user are an error with the remedy."""
    world = {"kind": "generated", "users": 1, "items": 60, "cities": ["seattle"], "country": "US"}
    with pytest.raises(DatasetError, match="no returning user comes in these days; hold out more"):
        evaluate(world=world, horizon={"start": "2015-10-05", "history_days": 3}, holdout_days=1)


METRICS = [
    "hr@30",
    "recall@10",
    "exclusive_recall@5",
    "novelty@10",
    "duplicate_share",
    "tag_validity",
    "tag_diversity",
    "explanation_diversity",
    "prompt_tokens",
    "gflops",
]


@pytest.fixture(scope="module")
def intents(evaluate: Evaluate) -> SimpleNamespace:
    """Stand-ins for language policies beside two baselines and the ceiling, at some of the visits."""
    return evaluate(
        policies={
            "popularity": {"policy": "popularity"},
            "two_parts": {"policy": "evaluation_test_thinker"},
            "one_part": {"policy": "evaluation_test_thinker", "params": {"parts": 1}},
            "silent": {"policy": "evaluation_test_thinker", "params": {"speaks": False}},
            "oracle": {"policy": "oracle"},
            "foresight": {"policy": "foresight"},
        },
        metrics=METRICS,
        max_visits=60,
    )


def test_so_many_visits_are_asked(intents: SimpleNamespace, evaluated: SimpleNamespace) -> None:
    """Policies answer for as many visits as the config allows, of those that are held out."""
    assert intents.evaluation["requests"] == 60
    assert intents.evaluation["held_out"] == evaluated.evaluation["requests"] > 60


def test_what_does_not_apply_is_null_and_not_compared(intents: SimpleNamespace) -> None:
    """A policy has a metric or null, and every two policies that have it are compared, no others."""
    evaluation = intents.evaluation
    thinkers = {"two_parts", "one_part", "silent"}
    for metric in METRICS:
        expected = set(intents.config.policies) if metric in ("hr@30", "recall@10", "novelty@10") else thinkers
        expected = expected - {"silent"} if metric == "explanation_diversity" else expected
        assert {name for name, values in evaluation["policies"].items() if values[metric] is not None} == expected
        pairs = {frozenset((row["a"], row["b"])) for row in evaluation["comparisons"] if row["metric"] == metric}
        assert pairs == {frozenset((a, b)) for a in expected for b in expected if a != b}


def test_thoughts_are_measured(intents: SimpleNamespace) -> None:
    """Two parts of one mind repeat half of their tags and read twice as much; the rest is the same to the bit."""
    policies = intents.evaluation["policies"]
    value = {name: {m: v and v["value"] for m, v in values.items()} for name, values in policies.items()}
    assert value["two_parts"]["duplicate_share"] == pytest.approx(0.5)
    assert value["one_part"]["duplicate_share"] == 0
    assert value["two_parts"]["prompt_tokens"] == 2 * value["one_part"]["prompt_tokens"] == 2000
    assert value["one_part"]["gflops"] == pytest.approx(2.5)
    assert value["one_part"]["tag_validity"] == value["one_part"]["tag_diversity"] == 1
    assert 0 < value["one_part"]["explanation_diversity"] < 1
    rows = {(row["metric"], row["a"], row["b"]): row for row in intents.evaluation["comparisons"]}
    same = rows["hr@30", "two_parts", "one_part"]
    assert (same["effect"], same["ci"], same["p_value"]) == (0, [0, 0], 1)
    words = rows["explanation_diversity", "two_parts", "one_part"]
    assert 0 < words["visits"] <= 60


def test_who_knows_what_is_shown_and_wanted_is_the_ceiling(intents: SimpleNamespace) -> None:
    """Knowing the visit's purpose finds more than popularity does; knowing the logger too finds most of all."""
    policies = intents.evaluation["policies"]
    for metric in ("hr@30", "recall@10"):
        value = {name: values[metric]["value"] for name, values in policies.items()}
        assert value["foresight"] > value["oracle"] > value["popularity"]
        assert value["foresight"] == max(value.values())


def test_a_large_family_can_be_told(intents: SimpleNamespace) -> None:
    """With 60 comparisons the config's 200 replicates could tell none; more are drawn, and what is certain is told."""
    evaluation = intents.evaluation
    check_family(evaluation, intents.config)
    assert evaluation["family"]["comparisons"] * 2 / 201 > intents.config.alpha
    rows = {(row["metric"], row["a"], row["b"]): row for row in evaluation["comparisons"]}
    assert rows["prompt_tokens", "two_parts", "one_part"]["p_adjusted"] <= intents.config.alpha
    assert rows["hr@30", "two_parts", "one_part"]["p_adjusted"] == 1


def test_the_report_shows_what_there_is(intents: SimpleNamespace) -> None:
    """The page has a table for each kind of question, and says of how many visits."""
    text = write_report(intents.directory).read_text(encoding="utf-8")
    assert "60 visits" in text
    for part in ("What users did next", "What was shown and thought", "What a visit&#39;s thoughts cost"):
        assert part in text
    assert all(metric in text for metric in METRICS)


UNSEEN: dict[str, Any] = {
    "world": {
        "kind": "generated",
        "users": 300,
        "items": 500,
        "cities": ["seattle"],
        "country": "US",
        "unseen": ["halloween"],
    },
    "horizon": {"start": "2015-10-10", "history_days": 24},
    "holdout_days": 8,
    "policies": {"popularity": {"policy": "popularity"}, "one_part": {"policy": "evaluation_test_thinker"}},
    "metrics": ["hr@30", "recall@10", "duplicate_share"],
}


def test_visits_about_the_unseen_have_a_column(evaluate: Evaluate) -> None:
    """Every metric has its value over the visits of each stratum beside the whole, and so has every difference."""
    evaluation = evaluate(**UNSEEN).evaluation
    strata = evaluation["strata"]
    assert list(strata) == ["unseen", "unseen_called"]
    assert evaluation["requests"] >= strata["unseen"]["requests"] > strata["unseen_called"]["requests"] > 0
    for values in evaluation["policies"].values():
        for entry in filter(None, values.values()):
            for name, stratum in strata.items():
                assert set(entry[name]) == {"value", "ci", "visits"}
                assert entry[name]["visits"] == stratum["requests"]
                assert entry[name]["ci"][0] <= entry[name]["value"] <= entry[name]["ci"][1]
    assert len(evaluation["comparisons"]) == evaluation["family"]["comparisons"] == 2
    for row in evaluation["comparisons"]:
        for name in strata:
            assert set(row[name]) == {"effect", "ci", "p_value", "visits"}  # strata are for exploring: not corrected
            first, second = (evaluation["policies"][row[side]][row["metric"]][name]["value"] for side in "ab")
            assert row[name]["effect"] == pytest.approx(second - first)


def test_a_stratum_without_visits_is_said_to_be_empty(evaluate: Evaluate) -> None:
    """Where the unseen is never live among the held-out visits, its column is empty and the rest stands."""
    world = UNSEEN["world"] | {"unseen": ["christmas"]}
    found = evaluate(**(UNSEEN | {"world": world}))
    evaluation = found.evaluation
    assert evaluation["strata"]["unseen"]["requests"] == 0
    entry = evaluation["policies"]["popularity"]["hr@30"]
    assert entry["visits"] == evaluation["requests"]
    assert entry["unseen"] == {"value": None, "ci": None, "visits": 0}
    assert evaluation["comparisons"][0]["unseen"] == {"effect": None, "ci": None, "p_value": None, "visits": 0}
    assert "no visit is one" in write_report(found.directory).read_text(encoding="utf-8")


def test_truth_is_refused_where_it_is_not_known(evaluate: Evaluate, ledger: Path) -> None:
    """A real log does not tell what a visit was for, so a policy that needs to know is refused by name."""
    world = {"kind": "log", "dataset": "online_retail", "path": str(ledger)}
    with pytest.raises(ValueError, match=r"policies\.best: 'oracle' needs the truth of a simulation"):
        evaluate(world=world, horizon=None, policies={"best": {"policy": "oracle"}})


@pytest.fixture(scope="module")
def real(evaluate: Evaluate, online_retail: Path) -> SimpleNamespace:
    """Three policies on a hundred days of the real log, the last fourteen held out."""
    return evaluate(**real_config(online_retail))


def real_config(path: Path) -> dict[str, Any]:
    """A hundred days of the real log."""
    return {
        "world": {"kind": "log", "dataset": "online_retail", "path": str(path)},
        "horizon": {"start": "2011-05-01", "history_days": 100},
        "holdout_days": 14,
    }


def test_order_of_policies_on_real_customers(real: SimpleNamespace) -> None:
    """Of what real customers bought next, utility finds more than popularity, and that more than chance."""
    check_schema(real)
    policies = real.evaluation["policies"]
    for metric in ("recall@20", "ndcg@20", "hr@30"):
        utility, popularity, random = (policies[name][metric] for name in ("utility", "popularity", "random"))
        assert utility["ci"][0] > popularity["ci"][1]
        assert popularity["ci"][0] > random["ci"][1]
    assert policies["random"]["novelty@20"]["value"] > policies["utility"]["novelty@20"]["value"]


def test_processes_do_not_matter_on_real_customers(
    real: SimpleNamespace, evaluate: Evaluate, online_retail: Path
) -> None:
    """One process or two leave the same bytes on the real log too, and say what became of its rows."""
    by_two = evaluate(workers=2, **real_config(online_retail))
    assert (real.path / EVALUATION).read_bytes() == (by_two.path / EVALUATION).read_bytes()
    assert json.loads((by_two.path / MANIFEST).read_text())["data"]["kept"] > 300_000


def test_everything_held_out_is_refused(evaluate: Evaluate, ledger: Path) -> None:
    """A log shorter than the days to hold out leaves nothing to learn from, and that is said."""
    world = {"kind": "log", "dataset": "online_retail", "path": str(ledger)}
    with pytest.raises(DatasetError, match=r"holdout_days: 400 \(the log has 30 days; hold out fewer\)"):
        evaluate(world=world, horizon=None, holdout_days=400)


def test_ledger_of_a_few_customers_is_evaluated(evaluate: Evaluate, ledger: Path) -> None:
    """A log of a dozen customers is enough, from its first to its last day where no horizon is given."""
    world = {"kind": "log", "dataset": "online_retail", "path": str(ledger)}
    found = evaluate(world=world, horizon=None, holdout_days=10)
    check_schema(found)
    assert found.evaluation["users"] == 12
    assert found.evaluation["requests"] == 12 * 10
