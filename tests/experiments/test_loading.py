import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from experiments.config import EvaluationConfig, ExperimentConfig
from experiments.errors import MistakesError, UserError
from experiments.loading import MAX_BYTES, load_config, read_mapping
from experiments.world_config import LogWorld
from policies.registry import RegisteredPolicy, register_policy
from simulator.batches import Candidates, Requests
from simulator.parameters import Parameters

CONFIGS = Path(__file__).parents[2] / "experiments" / "configs"


class Tuning(Parameters):
    """Parameters of the policy below."""

    depth: int = Field(default=3, ge=1)


@register_policy("loading_test_policy")
class Tunable(RegisteredPolicy):
    """A policy with parameters, only ever named."""

    Params = Tuning

    def candidates(self, requests: Requests) -> Candidates:
        """Never called."""
        raise NotImplementedError


TEXT = """
name: small
seed: 7
world: {kind: generated, users: 100, items: 200, cities: [seattle], country: US}
horizon: {start: 2015-10-05, history_days: 10, days: 3}
arms:
  control: {policy: loading_test_policy, share: 0.5}
  treatment: {policy: loading_test_policy, share: 0.5}
"""
DATA = yaml.safe_load(TEXT.replace("2015-10-05", "'2015-10-05'"))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A valid config."""
    path = tmp_path / "small.yaml"
    path.write_text(TEXT)
    return path


def refusal(path: Path, *overrides: str) -> str:
    """The message with which a config is refused: one line."""
    with pytest.raises(UserError) as caught:
        load_config(path, overrides)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs_load(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every shipped config is valid and carries its file's name; those of a log need its file."""
    monkeypatch.chdir(CONFIGS.parents[1])
    try:
        config = load_config(path)
    except UserError as error:
        if str(error).startswith("world.path: "):
            pytest.skip("../shared/data/online_retail/online_retail.csv.gz is not there")
        raise
    if path.stem.startswith("train"):
        assert config.kind == "training"
        return
    assert config.name == path.stem
    if path.stem.startswith("cost"):
        assert config.kind == "timing"
        return
    assert config.kind == ("evaluation" if path.stem.endswith(("replay", "intent")) else "experiment")


def test_a_choice_is_no_part_of_a_key() -> None:
    """A key of what was chosen by its kind or unit is named as it is written in the file."""
    message = refusal(CONFIGS / "quickstart.yaml", "assignment={unit: city_hours, hours: 5}")
    assert message.partition("assignment.")[2].startswith("hours: 5 ")


def test_contexts_off_is_the_quickstart_without_context() -> None:
    """The two differ in their name and in the strength of context, and in nothing else."""
    on, off = (load_config(CONFIGS / f"{name}.yaml").model_dump() for name in ("quickstart", "contexts_off"))
    assert set(off["world"].pop("contexts").values()) == {0.0}
    assert set(on["world"].pop("contexts").values()) == {1.0}
    assert off.pop("name") != on.pop("name")
    assert on == off


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["arms.control={polcy: x, share: 0.5}"], "arms.control.polcy: unknown key (did you mean policy?)"),
        (["wrld={}"], "wrld: unknown key (did you mean world?)"),
        (["world.usrs=3"], "world.usrs: unknown key (did you mean users?)"),
        (
            ["world.behaviour.intent.recnt=1"],
            "world.behaviour.intent.recnt: unknown key (did you mean recent?)",
        ),
        (["page.zzz=1"], "page.zzz: unknown key; known here: slots"),
        (["arms.control.params.dpth=1"], "arms.control.params.dpth: unknown key (did you mean depth?)"),
        (["arms.control.params.depth=0"], "arms.control.params.depth: 0 must be greater than or equal to 1"),
        (
            ["arms.treatment.share=0.7"],
            "arms: shares sum to 1.2 (control 0.5, treatment 0.7); they must sum to 1",
        ),
        (
            ["name=A"],
            "name: 'A' is not a usable name; use up to 64 of a-z, 0-9, _ and -, a letter or digit first",
        ),
        (["world.users=0"], "world.users: 0 must be greater than or equal to 1"),
        (
            ["world.users=0", "seed=-1"],
            "seed: -1 must be greater than or equal to 0 (and 1 more; `testbed validate` tells all)",
        ),
        (["world.kind=made"], "world.kind: 'made' is unknown; use 'generated', 'log'"),
        (["world={users: 3}"], "world.kind: missing; say which kind"),
        (["world=earth"], "world: 'earth' is not a mapping; give keys and values under it"),
        (["arms.control=utility"], "arms.control: 'utility' is not a mapping; give keys and values under it"),
        (["horizon={start: 2015-10-05, days: 3}"], "horizon.history_days: missing; this key has no default"),
        (
            ["horizon.end=2015-10-01"],
            "horizon.end: end before start (2015-10-01 is not after 2015-10-05); swap them or leave end out",
        ),
        (
            ["horizon.start=2015-02-30"],
            "horizon.start: '2015-02-30' is not a date; write year, month and day, as in 2015-10-05",
        ),
        (["world.users=.inf"], "world.users: inf must be a finite number"),
        (["kind=party"], "kind: 'party' is unknown; use one of experiment, evaluation, training, timing"),
        (["kind=[a]"], "kind: ['a'] is unknown; use one of experiment, evaluation, training, timing"),
        (["seed"], "--set 'seed': write path.to.key=value, as in --set world.users=2000"),
        (["a..b=1"], "--set 'a..b=1': write path.to.key=value, as in --set world.users=2000"),
        (["seed.x=1"], "--set seed.x: seed is 7, not a mapping; set seed as a whole"),
    ],
)
def test_message_names_field_value_and_remedy(small: Path, overrides: list[str], message: str) -> None:
    """What is wrong is said in one line: the dotted field, the value, and what to do."""
    assert refusal(small, *overrides) == message


def mistakes(path: Path, *overrides: str) -> tuple[str, ...]:
    """All that a config is refused for."""
    with pytest.raises(MistakesError) as caught:
        load_config(path, overrides)
    return caught.value.lines


def test_keys_that_are_wrong_one_by_one_are_all_told(small: Path) -> None:
    """Mistyped keys come first, and hide neither other keys nor files that are not there."""
    found = mistakes(
        small,
        "seed=-1",
        "world.usrs=3",
        "world.climates=gone.yaml",
        "world.cities=[oslo]",
        "arms.control.params.depth=0",
        "traffic={kind: trace, path: none.parquet}",
    )
    assert [line.partition(": ")[0] for line in found] == [
        "world.climates",
        "traffic.path",
        "world.usrs",
        "seed",
        "arms.control.params.depth",
    ]


def test_parts_that_do_not_fit_each_other_are_all_told(small: Path) -> None:
    """One part that asks too much of the others does not hide the next, and each line is that of the mistake alone."""
    alone = {
        "analysis.control=nobody": "analysis.control: 'nobody' is none of control, treatment; name one of them",
        "frontier={arm: control, lambdas: [1]}": "frontier.arm: 'control' is no arm with allocation.kind exposure_qp; "
        "name one",
        "analysis.metrics=[ctr, lt14]": "analysis.metrics: 'lt14' needs 14 days but horizon.days + "
        "horizon.follow_up_days is 3; leave it out or lengthen the horizon",
        "analysis.sequential.looks=9": "analysis.sequential.looks: 9 looks in 3 days; one a day is the most",
    }
    for override, line in alone.items():
        assert line in mistakes(small, override)
    assert set(alone.values()) < set(mistakes(small, *alone))


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "analysis.sequential.looks=weekly",
            "analysis.sequential.looks: 'weekly' is neither a number of looks nor a list of days; "
            "write 3, or [7, 14, 21]",
        ),
        (
            "world.contexts={weather: off}",
            "world.contexts: weather: 'off' is no strength; 0 switches it off, and 1 is its default",
        ),
    ],
)
def test_words_in_place_of_numbers_are_answered_with_the_numbers(small: Path, override: str, line: str) -> None:
    """Who writes a word where a number belongs is told in one line what to write."""
    assert mistakes(small, override) == (line,)


def test_a_switchback_tells_all_that_it_has_not(small: Path) -> None:
    """Blocks that do not fill the days, a follow-up and metrics of return are three mistakes."""
    found = mistakes(
        small,
        "assignment={unit: city_hours, hours: 48}",
        "horizon.follow_up_days=1",
        "analysis.metrics=[ctr, retention_7]",
        "horizon.days=7",
    )
    assert [line.partition(":")[0] for line in found] == [
        "assignment.hours",
        "horizon.follow_up_days",
        "analysis.metrics",
    ]


def test_unknown_policy_message_lists_the_known(small: Path) -> None:
    """A policy that does not exist is answered with those that do."""
    message = refusal(small, "arms.control.policy=nobody")
    assert message.startswith("arms.control.policy: unknown policy 'nobody'; known: ")
    assert "loading_test_policy" in message


def test_metric_message_does_not_stammer(small: Path) -> None:
    """A message that already begins with its field's name is not given it twice."""
    assert refusal(small, "analysis.metrics=[ctr, x]").startswith("analysis.metrics: 'x' is unknown")


def test_overrides_apply_in_order_and_make_mappings(small: Path) -> None:
    """Later overrides win, values are YAML, and mappings on the way are made."""
    config = load_config(
        small,
        ["seed=8", "seed=9", "page.slots=6", "analysis.metrics=[ctr, gmv]", "name='a-b'", "world.country=NO"],
    )
    assert isinstance(config, ExperimentConfig)
    assert (config.seed, config.page.slots, config.analysis.metrics, config.name) == (
        9,
        6,
        ("ctr", "gmv"),
        "a-b",
    )
    assert config.world.country == "NO"


def test_override_of_an_alias_changes_one_place(tmp_path: Path) -> None:
    """Two arms written through one anchor stay two arms."""
    path = tmp_path / "alias.yaml"
    head, _ = TEXT.split("arms:")
    path.write_text(head + "arms: {a: &arm {policy: loading_test_policy, share: 0.5}, b: *arm}\n")
    config = load_config(path, ["arms.b.params.depth=9"])
    assert isinstance(config, ExperimentConfig)
    assert [arm.params["depth"] for arm in config.arms.values()] == [3, 9]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (
            b"name: a\nseed: 1\nname: b\n",
            ":3: not valid here: key 'name' given twice (first in line 1); keep one",
        ),
        (b"a: {b: 1, b: 2}\n", ":1: not valid here: key 'b' given twice"),
        (b"", "holds nothing; a config is a mapping"),
        (b"- a\n- b\n", "holds a list; a config is a mapping"),
        (b"seven\n", "holds 'seven'; a config is a mapping"),
        (b"name: \xff\xfe\n", "not UTF-8 text (byte 6)"),
        (b"a: [1, 2\n", ":2: not valid here: "),
        (b"a: \x00\n", "not valid YAML: "),
        (
            b"a: !!python/object/apply:os.system [ls]\n",
            ":1: not valid here: could not determine a constructor",
        ),
        (b"a: 1\n---\nb: 2\n", "not valid here: but found another document"),
        (b"? [a, b]\n: 1\n", ":1: not valid here: a key must be a word"),
        (b"a: &x [*x]\n", "an alias holds itself"),
        (b"a: " + b"[" * 50_000, "nested deeper than 32 levels"),
        (b"n: " + b"9" * 5_000, "not valid YAML: "),
        (b"#" * (MAX_BYTES + 1), f"{MAX_BYTES + 1} bytes; a config holds at most {MAX_BYTES}"),
    ],
)
def test_unsafe_or_broken_files_are_refused(tmp_path: Path, content: bytes, part: str) -> None:
    """A file that is not a plain mapping in YAML is refused in one line, with the line where there is one."""
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    message = refusal(path)
    assert message.startswith(str(path))
    assert part in message


@pytest.mark.parametrize(
    "bomb",
    [
        "\n".join(["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"] + [
            f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 9)
        ]),
        "\n".join(["l0: &l0 [x]"] + [f"l{n}: &l{n} [*l{n - 1}]" for n in range(1, 3000)]),
    ],
    ids=["wide", "deep"],
)  # fmt: skip
def test_expansion_bombs_are_refused(tmp_path: Path, bomb: str) -> None:
    """A small file whose aliases expand to something huge or very deep is refused before it is built."""
    path = tmp_path / "bomb.yaml"
    path.write_text(bomb)
    assert "more than 10000 values or 32 levels; write less" in refusal(path)


def test_special_files_are_refused(tmp_path: Path) -> None:
    """A missing file, a folder and a pipe are refused without waiting for them."""
    os.mkfifo(tmp_path / "pipe")
    assert "no such file" in refusal(tmp_path / "none.yaml")
    assert "is not a file" in refusal(tmp_path)
    assert "is not a file" in refusal(tmp_path / "pipe")


def test_plain_words_stay_words(tmp_path: Path) -> None:
    """Norway's code and dates are text, and only true and false are booleans."""
    path = tmp_path / "words.yaml"
    path.write_text("country: NO\nanswer: yes\nstart: 2015-10-05\non: true\n")
    assert read_mapping(path) == {"country": "NO", "answer": "yes", "start": "2015-10-05", "on": True}


def test_data_path_is_sought_here_and_beside_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log is looked for from the working directory, then from the config's folder, else refused."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    monkeypatch.chdir(work)
    path = home / "replay.yaml"
    path.write_text(
        "{kind: evaluation, name: replay, seed: 1, world: {kind: log, dataset: online_retail, path: log.csv},"
        " holdout_days: 9, policies: {one: {policy: loading_test_policy}}}"
    )
    message = refusal(path)
    assert message.startswith("world.path: log.csv: no such file, nor beside the config in ")
    assert "`testbed data online-retail --to DIR`" in message
    (home / "log.csv").touch()
    config = load_config(path)
    assert isinstance(config, EvaluationConfig)
    assert isinstance(config.world, LogWorld)
    assert config.world.path == home / "log.csv"
    (work / "log.csv").touch()
    assert load_config(path).world.path == Path("log.csv")  # type: ignore[union-attr]


PLACES = [
    "kind",
    "name",
    "horizon.start",
    "horizon.days",
    "arms",
    "arms.control",
    "arms.control.params",
    "analysis",
    "analysis.metrics",
    "world",
    "world.users",
    "world.cities",
    "x",
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=6), children, max_size=3),
    max_leaves=6,
)


def complaint(read: Callable[[Path], Any], path: Path) -> str:
    """Why a file is refused, empty if it is not; nothing but a UserError may come of it."""
    try:
        read(path)
    except UserError as error:
        return str(error)
    return ""


@settings(deadline=None)
@given(st.sampled_from(PLACES), VALUES)
def test_any_value_anywhere_is_accepted_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, where: str, value: Any
) -> None:
    """Whatever stands at a key, the config loads or one line says why not."""
    data = copy.deepcopy(DATA)
    *parents, key = where.split(".")
    target = data
    for parent in parents:
        target = target.setdefault(parent, {})
    target[key] = value
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8", errors="replace")
    assert len(complaint(load_config, path).splitlines()) <= 1


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_accepted_or_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever a file holds, reading it yields a mapping or a one-line message."""
    path = tmp_path_factory.getbasetemp() / "text.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    assert len(complaint(read_mapping, path).splitlines()) <= 1
