import re
import sys
import textwrap
import tomllib
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import distribution, entry_points
from pathlib import Path

import numpy as np
import pytest

import policies
from policies import registry
from policies.registry import (
    ENTRY_POINTS,
    NoParams,
    RegisteredPolicy,
    UnknownPolicyError,
    UnusablePolicyError,
    known_policies,
    policy_class,
    policy_names,
    register_policy,
)
from simulator.batches import NO_ITEM, UTILITY, Candidates, ImpressionLog, InteractionLog, Ints, Requests
from simulator.world import World

SOURCES = Path(policies.__file__).parent
SHIPPED = ("contextual", "exploring_logger", "oracle", "popularity", "random", "utility")
LEARNERS = ("contextual", "popularity", "random", "utility", "exploring_logger")


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> dict[str, type[RegisteredPolicy]]:
    """The registered policies, put back as they were after the test."""
    registry.known_policies()  # modules register once a process: all shipped ones now, so that none is lost afterwards
    registered = dict(registry._POLICIES)
    monkeypatch.setattr(registry, "_POLICIES", registered)
    return registered


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
    """``install(policy, module, source)``: a distribution that announces ``policy`` as ``module``."""

    def installed(policy: str, module: str, source: str) -> None:
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\n{policy} = {module}\n")
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, module, raising=False)

    return installed


def named() -> type[RegisteredPolicy]:
    """A new class each time."""

    class Named(RegisteredPolicy):
        """Only ever named."""

        def candidates(self, requests: Requests) -> Candidates:
            """Never called."""
            raise NotImplementedError

    return Named


def announced_in_sources() -> dict[str, str]:
    """Every name given to the decorator in the package's sources, with the module that gives it."""
    found = {}
    for path in SOURCES.rglob("*.py"):
        module = ".".join(("policies", *path.relative_to(SOURCES).with_suffix("").parts))
        for name in re.findall(r'^@register_policy\("(.+?)"\)', path.read_text(encoding="utf-8"), re.MULTILINE):
            found[name] = module
    return found


def test_names_are_sorted_and_hold_the_shipped_policies() -> None:
    """A config may use the shipped names, listed in order and each once."""
    names = policy_names()
    assert names == sorted(set(names))
    assert set(SHIPPED) <= set(names)


def test_every_shipped_policy_is_announced_under_its_name() -> None:
    """Sources, pyproject.toml and the installed package agree on which module registers which name."""
    expected = announced_in_sources()
    assert set(SHIPPED) <= expected.keys()
    project = tomllib.loads((SOURCES.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"][ENTRY_POINTS] == expected
    installed = distribution(project["name"]).entry_points.select(group=ENTRY_POINTS)
    assert {entry_point.name: entry_point.value for entry_point in installed} == expected


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_policy_describes_itself(name: str) -> None:
    """Each shipped policy says in one line what it is, and its parameters' defaults are valid."""
    chosen = policy_class(name)
    first = (chosen.__doc__ or "").strip().split("\n")
    assert first[0].endswith(".")
    assert len(first) == 1 or not first[1].strip()
    defaults = chosen.Params()
    assert chosen.Params.model_validate(defaults.model_dump(mode="json")) == defaults


def test_policy_that_does_not_think_has_nothing_to_tell() -> None:
    """By default a policy explains nothing, keeps no diary and has spent no time on thinking."""
    policy = named()(NoParams(), 0)
    assert len(policy.explanations()) == 0
    assert policy.diary() is None
    assert policy.seconds() == {}


def test_only_the_oracle_knows_the_truth() -> None:
    """Of the shipped policies one alone is handed the truth."""
    assert [name for name in SHIPPED if policy_class(name).knows_truth] == ["oracle"]


def test_unknown_policy_names_the_known() -> None:
    """A misspelt name is answered with all that could have been meant."""
    with pytest.raises(
        UnknownPolicyError, match=r"unknown policy 'popularty'; did you mean popularity\? known: "
    ) as error:
        policy_class("popularty")
    assert isinstance(error.value, ValueError)
    assert all(name in str(error.value) for name in SHIPPED)


def test_second_class_of_one_name_is_refused(shelf: dict[str, type[RegisteredPolicy]]) -> None:
    """A name belongs to the class that took it first; registering that class again changes nothing."""
    first = register_policy("mine")(named())
    assert register_policy("mine")(first) is first
    with pytest.raises(ValueError, match=r"policy 'mine': already registered by .*Named"):
        register_policy("mine")(named())
    assert shelf["mine"] is policy_class("mine") is first


def test_policy_without_parameters_refuses_any() -> None:
    """What a policy does not know as a parameter is an error."""
    with pytest.raises(ValueError, match="extra"):
        NoParams.model_validate({"depth": 3})


def test_plug_in_is_found_by_its_entry_point(
    shelf: dict[str, type[RegisteredPolicy]], install: Callable[[str, str, str], None]
) -> None:
    """A policy of another installed package is listed before it is imported, and imported when asked for."""
    install(
        "from_elsewhere",
        "elsewhere_policies",
        '''
        from policies.registry import RegisteredPolicy, register_policy

        @register_policy("from_elsewhere")
        class Elsewhere(RegisteredPolicy):
            """Lives in another package."""

            def candidates(self, requests):
                raise NotImplementedError
        ''',
    )
    assert "from_elsewhere" in policy_names()
    assert "elsewhere_policies" not in sys.modules
    assert policy_class("from_elsewhere").__module__ == "elsewhere_policies"
    assert known_policies()["from_elsewhere"] is shelf["from_elsewhere"]


HEAD = """
from policies.registry import RegisteredPolicy, register_policy
from simulator.parameters import Parameters
class Asks(RegisteredPolicy):
    def candidates(self, requests):
        raise NotImplementedError
"""


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("VALUE = 1", "module1 registers no policy named 'bad'; put @register_policy.'bad'. on the class"),
        (HEAD + "register_policy('bda')(Asks)", r"named 'bad' \(it registers bda\)"),
        (
            "import not_there_at_all",
            r"ModuleNotFoundError: No module named 'not_there_at_all' \(.*module1\.py, line 1\)",
        ),
        ("\n\nclass (", r"SyntaxError: .*module1\.py"),
        (HEAD + "register_policy('bad')(Asks)\n1 / 0", r"ZeroDivisionError: division by zero \(.*, line 8\); mend it"),
        ("from policies.registry import *\nregister_policy('bad')(int)", "int is no RegisteredPolicy"),
        (
            "from policies.registry import *\nclass A(RegisteredPolicy): pass\nregister_policy('bad')(A)",
            "A does not define candidates",
        ),
        (HEAD + "class B(Asks):\n    def __init__(self): pass\nregister_policy('bad')(B)", "too many positional"),
        (HEAD + "class B(Asks):\n    Params = dict\nregister_policy('bad')(B)", "Params is no class of Parameters"),
        (
            HEAD + "class P(Parameters):\n    width: int\nclass B(Asks):\n    Params = P\nregister_policy('bad')(B)",
            "Params: width without a default",
        ),
    ],
)
def test_plug_in_that_cannot_be_used_says_why(
    shelf: dict[str, type[RegisteredPolicy]], install: Callable[[str, str, str], None], source: str, said: str
) -> None:
    """A plug-in that does not import or is no policy is a line with its name, again when asked again; others stay."""
    before = dict(shelf)
    install("bad", "module1", source)
    for _ in range(2):
        with pytest.raises(UnusablePolicyError, match=said) as error:
            policy_class("bad")
        assert "\n" not in str(error.value)
        assert shelf == before
        sys.modules.pop("module1", None)
    found = known_policies()
    assert isinstance(found.pop("bad"), UnusablePolicyError)
    assert found == before


def test_listing_names_imports_no_library(shelf: dict[str, type[RegisteredPolicy]]) -> None:
    """Names come from metadata: nothing is registered by looking."""
    shelf.clear()
    assert set(SHIPPED) <= set(policy_names())
    assert not shelf
    assert {entry_point.name for entry_point in entry_points(group=ENTRY_POINTS)} >= set(SHIPPED)


def check_candidates(found: Candidates, requests: Requests, items: int) -> None:
    """Distinct known items, padding last, scores that fall and are numbers, and at least a page of them."""
    assert found.items.shape == found.scores.shape == found.channel.shape
    assert found.items.shape[0] == len(requests)
    assert found.items.shape[1] >= requests.slots
    assert found.items.dtype == np.int32
    assert found.items.min() >= NO_ITEM
    assert found.items.max() < items
    there = found.items != NO_ITEM
    assert there[:, : requests.slots].all()
    assert (there[:, :-1] | ~there[:, 1:]).all()
    for row in found.items:
        row = row[row != NO_ITEM]
        assert len(np.unique(row)) == len(row)
    assert np.isfinite(found.scores[there]).all()
    assert np.isneginf(found.scores[~there]).all()
    assert (found.channel == UTILITY).all()


@pytest.mark.parametrize("name", SHIPPED)
def test_answers_are_pages_of_distinct_items(
    name: str, fit: Callable[..., RegisteredPolicy], ask: Callable[..., Requests], world: World
) -> None:
    """Every shipped policy answers everybody with distinct items of the catalogue."""
    requests = ask(np.arange(world.users))
    found = fit(name).candidates(requests)
    check_candidates(found, requests, world.catalog.items)
    if name != "exploring_logger":
        assert (np.diff(found.scores, axis=1) <= 0).all()


@pytest.mark.parametrize("name", SHIPPED)
def test_refit_gives_the_same_bytes(
    name: str, fit: Callable[..., RegisteredPolicy], ask: Callable[..., Requests], world: World
) -> None:
    """A fit is a pure function of log and seed."""
    requests = ask(np.arange(world.users))
    one, other = (fit(name).candidates(requests) for _ in range(2))
    assert one.items.tobytes() == other.items.tobytes()
    assert one.scores.tobytes() == other.scores.tobytes()


@pytest.mark.parametrize("name", SHIPPED)
def test_company_of_a_request_does_not_matter(
    name: str, fit: Callable[..., RegisteredPolicy], ask: Callable[..., Requests], world: World
) -> None:
    """A user is answered the same to the byte in a batch, alone, and in another order."""
    policy = fit(name)
    rows = np.arange(0, world.users, 7)
    batch = policy.candidates(ask(rows))
    backwards = policy.candidates(ask(rows[::-1]))
    assert batch.items.tobytes() == backwards.items[::-1].tobytes()
    assert batch.scores.tobytes() == backwards.scores[::-1].tobytes()
    for n, row in enumerate(rows):
        alone = policy.candidates(ask(rows[n : n + 1]))
        assert alone.items.tobytes() == batch.items[n : n + 1].tobytes(), row
        assert alone.scores.tobytes() == batch.scores[n : n + 1].tobytes(), row


@pytest.mark.parametrize("name", LEARNERS)
def test_log_without_impressions_suffices(
    name: str,
    fit: Callable[..., RegisteredPolicy],
    ask: Callable[..., Requests],
    sales_log: InteractionLog,
    world: World,
) -> None:
    """A ledger, which holds no impressions, is enough to learn from."""
    requests = ask(np.arange(world.users))
    check_candidates(fit(name, sales_log).candidates(requests), requests, world.catalog.items)


def small_logs(log: InteractionLog) -> dict[str, InteractionLog]:
    """Nothing at all; one click; one user's few impressions, none clicked or one."""
    whole = log.impressions
    assert whole is not None
    clicked = int(np.flatnonzero(whole.clicked)[0])
    theirs = np.flatnonzero((whole.user == whole.user[clicked]) & ~whole.clicked)[:5]

    def shown(rows: Ints) -> ImpressionLog:
        return ImpressionLog(*(getattr(whole, field)[rows] for field in ImpressionLog.__dataclass_fields__))

    def first(count: int) -> InteractionLog:
        return replace(
            log.where(np.arange(len(log.user)) < count, np.zeros(len(whole.user), np.bool_)), impressions=None
        )

    one, none = first(1), first(0)
    return {
        "nothing": none,
        "one interaction": one,
        "impressions without a click": replace(none, impressions=shown(theirs)),
        "impressions with one click": replace(one, impressions=shown(np.append(clicked, theirs))),
    }


@pytest.mark.parametrize("name", LEARNERS)
def test_almost_empty_log_is_no_obstacle(
    name: str, fit: Callable[..., RegisteredPolicy], ask: Callable[..., Requests], log: InteractionLog, world: World
) -> None:
    """With no interaction or a single one, with impressions or without, people are still served."""
    requests = ask(np.arange(world.users))
    for small in small_logs(log).values():
        for seed in (5, 6, 7, 8):  # the one user is in either half of those that count and judge
            check_candidates(fit(name, small, seed).candidates(requests), requests, world.catalog.items)
