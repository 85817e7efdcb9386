import dataclasses
import gzip
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from simulator.datasets.interactions import SECONDS_PER_DAY, DatasetError, PurchaseLog
from simulator.datasets.online_retail import COLUMNS, read_online_retail
from simulator.datasets.title_categories import OTHER

REAL = Path(__file__).parents[3] / "../shared/data/online_retail/online_retail.csv.gz"
HEADER = ",".join(COLUMNS)
GOOD = "536365,85123A,WHITE HANGING HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom"


@pytest.fixture(scope="module")
def real() -> PurchaseLog:
    """The real log."""
    if not REAL.exists():
        pytest.skip(f"{REAL.name} is absent")
    return read_online_retail(REAL)


def read(folder: Path, *lines: str, header: str = HEADER) -> PurchaseLog:
    """The log of a file of these lines."""
    path = folder / "log.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return read_online_retail(path)


def partition(log: PurchaseLog) -> dict[str, int]:
    """The fates of rows that occurred."""
    return {name: count for name, count in log.counts.items() if count and not name.startswith("raw_")}


def test_published_figures_of_the_real_file(real: PurchaseLog) -> None:
    """Rows, invoices, customers and cancellations must equal the figures known for the file."""
    published = {
        "raw_rows": 541_909,
        "raw_invoices": 25_900,
        "raw_customers": 4_372,
        "raw_cancellations": 9_288,
        "raw_missing_customer": 135_080,
        "raw_repeated_rows": 5_268,
    }
    assert {name: real.counts[name] for name in published} == published
    assert sum(partition(real).values()) == published["raw_rows"]


def test_shape_of_the_real_log(real: PurchaseLog) -> None:
    """The log must span the 374 days of the file and hold no item or user without a purchase."""
    assert (real.start, real.days) == (date(2010, 12, 1), 374)
    assert real.time[0] == 8 * 3600 + 26 * 60
    assert real.end == 373 * SECONDS_PER_DAY + 12 * 3600 + 50 * 60 + 1
    assert np.array_equal(np.unique(real.item), np.arange(len(real.item_codes)))
    assert np.array_equal(np.unique(real.user), np.arange(len(real.user_codes)))
    first = np.full(len(real.item_codes), real.end)
    np.minimum.at(first, real.item, real.time)
    assert np.array_equal(first, real.first_seen)


def test_baskets_of_the_real_log(real: PurchaseLog) -> None:
    """A basket must have one user and one time, each item once, and differ from every other basket."""
    users, times = real.visits()
    assert np.array_equal(users[real.visit], real.user)
    assert np.array_equal(times[real.visit], real.time)
    assert len(set(zip(users.tolist(), times.tolist(), strict=True))) == len(users)
    assert len(set(zip(real.visit.tolist(), real.item.tolist(), strict=True))) == len(real.visit)


def test_the_two_famous_mistaken_orders_are_refunded(real: PurchaseLog) -> None:
    """The orders of 80,995 and 74,215 units, cancelled within minutes, must come out refunded in full."""
    largest = np.argsort(real.quantity)[-2:]
    assert real.quantity[largest].tolist() == [74_215, 80_995]
    assert real.refunded_quantity[largest].tolist() == [74_215, 80_995]


def test_categories_of_the_real_titles(real: PurchaseLog) -> None:
    """The real titles must give a few hundred categories, none dominant, and file a well-known item well."""
    shares = np.bincount(real.category) / len(real.titles)
    assert 150 <= len(real.category_names) <= 280
    assert shares.max() < 0.08
    assert shares[real.category_names.index(OTHER)] < 0.05
    item = real.item_codes.index("85123A")
    assert real.titles[item] == "White hanging heart t-light holder"
    assert real.category_names[real.category[item]] == "t-light holder"


def test_every_row_meets_one_fate(tmp_path: Path) -> None:
    """Each kind of flaw must be counted once, in the documented order of checks."""
    log = read(
        tmp_path,
        GOOD,
        "536365,85123A,WHITE HANGING HEART,2,2010-12-01 08:27:00,2.15,17850,United Kingdom",
        "",
        "536366,85123A,TOO,MANY,FIELDS,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom",
        '536366,85123A,"UNCLOSED,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom',
        "536366,85123A,HEART,six,2010-12-01 08:26:00,2.55,17850.0,United Kingdom",
        "536366,85123A,HEART,6,2010-13-01 08:26:00,2.55,17850.0,United Kingdom",
        "536366,85123A,HEART,6,2010-12-01 08:26:00,nan,17850.0,United Kingdom",
        "536366,,HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom",
        "536367,85123A,wet,-6,2010-12-01 08:26:00,0.0,,United Kingdom",
        "C536367,85123A,HEART,-6,2010-12-01 08:26:00,2.55,,United Kingdom",
        "C536368,POST,POSTAGE,-1,2010-12-01 08:26:00,18.0,17850.0,France",
        "536368,23444,Next Day Carriage,1,2010-12-01 08:26:00,15.0,17850.0,United Kingdom",
        "C536369,85123A,HEART,-1,2010-12-01 08:30:00,2.55,17850.0,United Kingdom",
        "C536369,85123A,HEART,-1,2010-12-01 08:00:00,2.55,17850.0,United Kingdom",
        "536370,85123A,HEART,0,2010-12-01 08:26:00,2.55,17850.0,United Kingdom",
        "536370,85123A,HEART,1,2010-12-01 08:26:00,0.0,17850.0,United Kingdom",
    )
    assert partition(log) == {
        "unreadable_rows": 6,
        "stock_notes": 1,
        "missing_customer": 1,
        "non_product_codes": 2,
        "cancellations_unmatched": 2,
        "non_positive_quantity": 1,
        "non_positive_price": 1,
        "merged_lines": 1,
        "kept": 1,
    }
    assert log.counts["raw_rows"] == sum(partition(log).values())
    assert log.quantity.tolist() == [8]
    assert log.unit_price == pytest.approx((6 * 2.55 + 2 * 2.15) / 8)


def test_cancellations_take_the_latest_purchase_with_enough_left(tmp_path: Path) -> None:
    """A cancellation must choose among earlier purchases of its customer and item, and never refund twice."""
    row = "{},{},MUG,{},2010-12-0{} 10:00:00,1.0,{},France"
    log = read(
        tmp_path,
        row.format(1, "10001", 10, 1, 7),
        row.format(2, "10001", 4, 2, 7),
        row.format(3, "10001", 4, 2, 8),
        row.format(4, "10002", 4, 2, 7),
        row.format("C5", "10001", -3, 3, 7),
        row.format("C6", "10001", -3, 3, 7),
        row.format("C7", "10001", -8, 3, 7),
        row.format(8, "10001", 20, 4, 7),
    )
    assert log.counts["cancellations_matched"] == 2
    assert log.counts["cancellations_unmatched"] == 1
    refunds = {
        (log.user_codes[u], log.item_codes[i], int(t) // SECONDS_PER_DAY): int(r)
        for u, i, t, r in zip(log.user, log.item, log.time, log.refunded_quantity, strict=True)
    }
    assert refunds == {
        ("7", "10001", 0): 3,
        ("7", "10001", 1): 3,
        ("8", "10001", 1): 0,
        ("7", "10002", 1): 0,
        ("7", "10001", 3): 0,
    }


def test_items_take_their_usual_title_price_and_users_their_usual_country(tmp_path: Path) -> None:
    """Most frequent description and country and the median price must win; remarks must never be titles."""
    log = read(
        tmp_path,
        "1,10001a,?display?,1,2010-12-01 10:00:00,9.0,7.0,France",
        "2,10001A,?display?,1,2010-12-01 11:00:00,1.0,7.0,Spain",
        '3,10001A,"SET/6 LONDON  MUGS, ",1,2010-12-01 12:00:00,2.0,7.0,Spain',
        "4,10002,,1,2010-12-01 12:00:00,2.0,8.0,",
    )
    assert log.item_codes == ("10001A", "10002")
    assert log.titles == ("Set of 6 London mugs", "10002")
    assert log.price.tolist() == [2.0, 2.0]
    assert log.user_country == ("Spain", "Unspecified")


def test_copies_of_the_file_read_alike(tmp_path: Path) -> None:
    """Column order, month-first dates, Latin-1, byte order marks and line ends must not matter."""
    wanted = read(tmp_path, GOOD)
    other = tmp_path / "copy.csv"
    lines = [
        "Country,CustomerID,UnitPrice,InvoiceDate,Quantity,Description,StockCode,InvoiceNo,Note,Note",
        "United Kingdom,17850,2.55,12/1/2010 8:26,6,WHITE HANGING HEART,85123A,536365,\xa310,",
    ]
    for data in ("\ufeff".encode() + "\r\n".join(lines).encode(), "\n".join(lines).encode("latin-1")):
        other.write_bytes(data)
        found = read_online_retail(other)
        for field in dataclasses.fields(PurchaseLog):
            assert np.all(getattr(found, field.name) == getattr(wanted, field.name)), field.name


def test_one_customers_invoices_of_a_minute_are_one_basket(tmp_path: Path) -> None:
    """Two invoices of a customer in one minute must be one basket, another customer's a second one."""
    log = read(
        tmp_path,
        GOOD,
        GOOD.replace("536365,85123A", "536366,10001"),
        GOOD.replace("536365", "536367").replace("17850", "17851"),
    )
    assert log.visit.tolist() == [0, 0, 1]
    assert [log.user_codes[user] for user in log.visits()[0]] == ["17850", "17851"]


def test_unusable_files_are_named_with_a_remedy(tmp_path: Path) -> None:
    """Missing, damaged, foreign and empty files must each give one line with a remedy."""
    packed = gzip.compress(f"{HEADER}\n{GOOD}\n".encode() * 50)
    contents = {
        "missing.csv.gz": (None, "no such file"),
        "truncated.csv.gz": (packed[:-20], "truncated gzip"),
        "plain.csv.gz": (HEADER.encode(), "gzip"),
        "broken.csv.gz": (packed[:15] + b"\xff" * 30 + packed[45:], "gzip"),
        "columns.csv": (HEADER.replace("UnitPrice", "Price").encode(), "UnitPrice"),
        "empty.csv": (b"", "InvoiceNo"),
        "header.csv": (HEADER.encode(), "holds no sale"),
        "useless.csv": (f"{HEADER}\n{GOOD.replace('17850.0', '')}".encode(), "holds no sale"),
        "sheet.xlsx": (b"PK", "not a .csv"),
    }
    for name, (data, problem) in contents.items():
        path = tmp_path / name
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(DatasetError) as caught:
            read_online_retail(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: "), name
        assert problem in message, name
        assert "testbed data online-retail --to DIR" in message, name
        assert "\n" not in message, name


def test_a_log_that_breaks_its_own_rules_is_refused(tmp_path: Path) -> None:
    """Wrong lengths, order, indices, signs, refunds or basket numbers must be refused by the log itself."""
    log = read(tmp_path, GOOD, GOOD.replace("536365", "536366").replace("08:26", "09:26"))
    broken: dict[str, dict[str, object]] = {
        "titles": {"titles": ()},
        "out of order": {"time": log.time[::-1]},
        "category": {"category_names": ()},
        "user": {"user": log.user - 1},
        "not positive": {"quantity": log.quantity * 0},
        "refund_row": {
            "refund_row": np.array([2]),
            "refund_time": np.full(1, log.end),
            "refund_quantity": np.ones(1, int),
        },
        "refund_time": {
            "refund_row": np.array([1]),
            "refund_time": np.zeros(1, int),
            "refund_quantity": np.ones(1, int),
        },
        "refund_quantity: below": {
            "refund_row": np.array([1, 1]),
            "refund_time": np.full(2, log.end),
            "refund_quantity": np.full(2, log.quantity[1]),
        },
        "visit": {"visit": log.visit + 1},
    }
    for problem, change in broken.items():
        with pytest.raises(ValueError, match=problem):
            dataclasses.replace(log, **change)  # type: ignore[arg-type]
