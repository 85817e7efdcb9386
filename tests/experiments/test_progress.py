import io

from rich.console import Console

from experiments.progress import BarProgress, LineProgress, Progress


def told(progress: Progress, found: int) -> None:
    """A stage of ten steps, some of them done before, with a stage inside."""
    with progress.stage("playing", 10) as stage:
        if found:
            stage.found(found)
        with progress.stage("inside", 2) as inside:
            inside.advance(2)
        stage.advance(10 - found)


def test_lines_tell_what_was_done_before() -> None:
    """A stage that was taken up again says how much of it was there, and only that stage does."""
    for found, end in ((4, ", 4 of 10 steps done before"), (0, "")):
        out = io.StringIO()
        told(LineProgress(Console(file=out, width=100)), found)
        inside, playing = out.getvalue().splitlines()
        assert inside.startswith("inside: done in ")
        assert inside.endswith(" s")
        assert playing.startswith("playing: done in ")
        assert playing.endswith(f" s{end}")


def test_bars_tell_what_was_done_before() -> None:
    """A bar begins where the earlier attempt ended, says so, and ends full."""
    out = io.StringIO()
    told(BarProgress(Console(file=out, width=120, force_terminal=True)), 4)
    assert "playing (4 done before)" in out.getvalue()
    assert "10/10" in out.getvalue()
