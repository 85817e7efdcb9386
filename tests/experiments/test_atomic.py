from pathlib import Path

import pytest

from experiments.atomic import replacing


def test_a_name_is_taken_at_the_end_or_not_at_all(tmp_path: Path) -> None:
    """The old file stands until the context ends, and for good if it ends by an error; no temporary file stays."""
    target = tmp_path / "deep" / "file"
    with replacing(target) as temporary:
        temporary.write_text("one")
        assert not target.exists()
    assert target.read_text() == "one"

    def fail() -> None:
        with replacing(target) as temporary:
            temporary.write_text("two")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert target.read_text() == "one"
    assert [file.name for file in target.parent.iterdir()] == ["file"]
