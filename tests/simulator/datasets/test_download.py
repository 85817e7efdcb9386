import gzip
import io
import urllib.error
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from simulator.datasets.download import ARCHIVE_NAME, CSV_NAME, ONLINE_RETAIL_URL, download_online_retail
from simulator.datasets.interactions import DatasetError
from simulator.datasets.online_retail import COLUMNS, read_online_retail

NAMESPACE = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
TEXTS = [
    *COLUMNS,
    "85123A",
    "WHITE HANGING HEART\n T-LIGHT HOLDER",
    "United Kingdom",
    "C536379",
    "SAY &quot;HI&quot;, MUM",
]
ROWS = [
    [f"s{place}" for place in range(8)],
    ["536365", "s8", "s9", "6", "40513.351388888892", "2.5499999999999998", "17850", "s10"],
    ["s11", "22139", "s12", "-1", "40513.5", "4", "", "s10"],
]


def cell(reference: str, value: str) -> str:
    """One cell: shared text where the value begins with s, else a number."""
    if not value:
        return f'<c r="{reference}"/>'
    kind, number = (' t="s"', value[1:]) if value.startswith("s") else ("", value)
    return f'<c r="{reference}"{kind}><v>{number}</v></c>'


def archive(rows: list[list[str]] = ROWS, prolog: str = "", inside: str = "Online Retail.xlsx") -> bytes:
    """A zip with a workbook in it, as the repository serves it."""
    strings = "".join(f"<si><r><t>{text[:3]}</t></r><r><t>{text[3:]}</t></r></si>" for text in TEXTS[:8])
    strings += "".join(f"<si><t>{text}</t><rPh><t>sound</t></rPh></si>" for text in TEXTS[8:])
    sheet = ""
    for number, row in enumerate(rows, start=1):
        cells = [cell(f"{letter}{number}", value) for letter, value in zip("ABCDEFGH", row, strict=True)]
        sheet += f"<row>{''.join(cells)}</row>"
    workbook = io.BytesIO()
    with zipfile.ZipFile(workbook, "w", zipfile.ZIP_DEFLATED) as inner:
        inner.writestr("xl/sharedStrings.xml", f'{prolog}<sst xmlns="{NAMESPACE}">{strings}</sst>')
        inner.writestr(
            "xl/worksheets/sheet1.xml",
            f'<worksheet xmlns="{NAMESPACE}"><sheetData>{sheet}</sheetData></worksheet>',
        )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as outer:
        outer.writestr(inside, workbook.getvalue())
    return packed.getvalue()


def serving(data: bytes) -> Callable[..., io.BytesIO]:
    """An opener that answers every URL with the same bytes."""
    return lambda url, timeout: io.BytesIO(data)


def test_workbook_becomes_the_file_the_reader_knows(tmp_path: Path) -> None:
    """Shared and rich text, numbers and Excel dates must arrive as the text the CSV of the data set has."""
    path = download_online_retail(tmp_path / "data", serving(archive()))
    assert gzip.decompress(path.read_bytes()).decode().splitlines() == [
        ",".join(COLUMNS),
        "536365,85123A,WHITE HANGING HEART T-LIGHT HOLDER,6,2010-12-01 08:26:00,2.55,17850,United Kingdom",
        'C536379,22139,"SAY ""HI"", MUM",-1,2010-12-01 12:00:00,4,,United Kingdom',
    ]
    log = read_online_retail(path)
    assert log.titles == ("White hanging heart t-light holder",)
    assert log.counts["kept"] == log.counts["missing_customer"] == 1


def test_two_downloads_give_the_same_bytes_and_leave_nothing_else(tmp_path: Path) -> None:
    """A download must be reproducible byte for byte and leave only its file in the folder."""
    first = download_online_retail(tmp_path, serving(archive())).read_bytes()
    assert download_online_retail(tmp_path, serving(archive())).read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == [CSV_NAME]


def test_archive_fetched_by_hand_needs_no_network(tmp_path: Path) -> None:
    """An archive put in the folder by hand must be converted without opening any URL."""

    def offline(*_: object, **__: object) -> None:
        raise AssertionError("opened a URL")

    (tmp_path / ARCHIVE_NAME).write_bytes(archive())
    assert len(read_online_retail(download_online_retail(tmp_path, offline)).time) == 1


def test_network_failure_says_what_failed_and_how_to_go_on(tmp_path: Path) -> None:
    """Without a network the error must name the address, the cause and the way by hand, in one line."""

    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    with pytest.raises(DatasetError) as caught:
        download_online_retail(tmp_path, offline)
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        ONLINE_RETAIL_URL,
        "no route to host",
        "by hand",
        '"Online Retail"',
        str(tmp_path / ARCHIVE_NAME),
    ):
        assert part in message


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"<html>moved</html>", "not a zip file"),
        (archive()[:-40], "zip"),
        (archive(inside="readme.txt"), r"0 \.xlsx files"),
        (archive([[*ROWS[0][:-1], "s10"], ROWS[1]]), "no column Country"),
        (archive([]), "no column InvoiceNo"),
        (archive([ROWS[0], ["s99", *ROWS[1][1:]]]), "index"),
        (archive(prolog='<!DOCTYPE lol [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'), "document type"),
    ],
)
def test_strange_archives_are_refused_and_the_old_file_stays(tmp_path: Path, data: bytes, problem: str) -> None:
    """Whatever is wrong with an archive, the error must say so and an earlier file must survive."""
    (tmp_path / CSV_NAME).write_bytes(b"earlier")
    with pytest.raises(DatasetError, match=problem):
        download_online_retail(tmp_path, serving(data))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {CSV_NAME: b"earlier"}


def test_folder_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    """A target folder that cannot be made must be named in the error."""
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DatasetError, match="choose another folder"):
        download_online_retail(tmp_path / "taken", serving(archive()))
