from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from experiments.audit_tables import print_audit

HOSTILE = "<img src=x onerror=alert(1)> [bold]&%{y}"
Maker = Callable[..., dict[str, Any]]


def printed(found: dict[str, Any], width: int = 80) -> str:
    """What a terminal of this width shows."""
    out = StringIO()
    print_audit(Console(file=out, width=width), found)
    return out.getvalue()


@pytest.mark.parametrize("effects", [True, False])
def test_eighty_columns_of_ascii(effects: bool, audit_of: Maker) -> None:
    """Tables fit 80 columns; beside their rules no sign needs Unicode."""
    text = printed(audit_of(effects=effects))
    assert max(map(len, text.splitlines())) <= 80
    assert set(text) - {chr(code) for code in range(128)} <= {"─"}
    assert ("Lift covered" in text) == effects


def test_what_is_said(capsys: pytest.CaptureFixture[str], audit_of: Maker) -> None:
    """Rates stand with their intervals and promises; what is odd and no defect is told apart from one."""
    text = " ".join(printed(audit_of(), width=120).split())
    for part in ("5.2%", "3.9 to 6.8", "21.0%", "nothing", "at most 5.0%", "0.10%", "Every promise holds"):
        assert part in text
    assert "nothing could be tested in 1,000 of 1,000" in text
    assert "gave way to the plain test in 3 of 1,000" in text
    assert "an effect was noticed in 70.0% of the experiments and predicted in 55.0%" in text
    assert "1,000 experiments on 3,433 users" in text
    assert "arms show the outcomes of base" in text
    assert "oracle: true" in " ".join(printed(audit_of(effects=False), width=120).split())


def test_defects_in_words(audit_of: Maker) -> None:
    """A broken promise is marked, counted, and told with both intervals and what was promised."""
    broken = audit_of(alarms=110)
    assert broken["defects"] == 2
    text = " ".join(printed(broken, width=120).split())
    assert "2 promises are broken" in text
    assert "Click-through rate by CUPED, Welch t, newer: a false alarm in 11.0% of 1,000 experiments" in text
    assert "promised 5.0%" in text
    assert "11.0% !!" in text
    doubtful = " ".join(printed(audit_of(alarms=66), width=120).split())
    assert "6.6% *" in doubtful
    assert "No promise is broken" in doubtful


def test_text_is_not_markup(audit_of: Maker) -> None:
    """Names from a config are printed as they are."""
    text = printed(audit_of(alarms=110, title="[bold]x[/bold]", arm="[red]"), width=160)
    assert "[bold]x[/bold]" in text
    assert "[red]" in text
    assert HOSTILE.split()[0] in printed(audit_of(title=HOSTILE), width=160)
