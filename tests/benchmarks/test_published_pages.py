"""The pages are what the published results generate."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.contestants import ROOT
from benchmarks.instructions import Instructions
from benchmarks.overview import LOOPS, SHOWN, Overview
from benchmarks.page import OVERVIEW_PLOTS, PAGES, PLOTS, SECTION, generated
from benchmarks.profile import COUNTED, MOST_FUNCTIONS, SAVED, Profile, most
from benchmarks.scenarios import SCENARIOS
from benchmarks.spread import Spread
from benchmarks.summary import PUBLISHED, Summary
from benchmarks.tables import COLUMNS, HEADINGS, Tables
from benchmarks.targets import Entry

STALE = "stale: run `python -m benchmarks.page`"


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    """All generated files, by their path."""
    return generated(Summary.load(PUBLISHED), Profile.load(SAVED))


def test_pages_and_plots_are_those_of_the_published_results(files: dict[str, str]) -> None:
    assert set(PAGES) < set(files)
    for path, content in files.items():
        assert (ROOT / path).read_text() == content, f"{path} is {STALE}"


def test_there_are_no_other_plots(files: dict[str, str]) -> None:
    plots = [plot for folder in (OVERVIEW_PLOTS, PLOTS) for plot in (ROOT / folder).iterdir()]
    assert {str(plot.relative_to(ROOT)) for plot in plots} == set(files) - set(PAGES)


def test_every_section_has_its_place() -> None:
    tables, overview = Tables(Summary({})), Overview(Summary({}), Profile())
    sections = [*tables.sections(), *overview.sections(), *Instructions(Profile()).sections()]
    text = "".join((ROOT / page).read_text() for page in PAGES)
    assert sorted(found[2] for found in SECTION.finditer(text)) == sorted(sections)


def test_nothing_was_measured_and_nothing_is_printed() -> None:
    files = generated(Summary({}), Profile())
    assert set(files) == set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    file = ROOT / page
    targets = re.findall(r"\]\(([^)#\s]+)[^)\s]*\)", file.read_text())
    local = [target for target in targets if "://" not in target]
    assert local
    assert [target for target in local if not (file.parent / target).exists()] == []


def test_the_first_page_is_short() -> None:
    assert len((ROOT / PAGES[0]).read_text().splitlines()) < 250


def test_a_row_for_each_scenario_and_loop() -> None:
    summary = Summary({})
    for scenario in SHOWN:
        for contestant in ("ours", "ours-uvloop", "websockets", "ours-trio"):
            spread = Spread(*([1.0] * 3 if contestant == "websockets" else [2.0] * 3))
            if contestant in SCENARIOS[scenario].contestants:
                quantity = SCENARIOS[scenario].quantity
                summary.add(Entry(scenario, contestant), quantity, spread, with_spread=True)
    rows = list(Overview(summary, Profile()).table())[2:]
    label = f"**{SHOWN['16x256'][0]}**: {SCENARIOS['16x256'].title}, µs"
    assert rows[:3] == [
        f"| {label} | asyncio | 2.00 | **1.00** | – | – | – |",
        "|  | uvloop | **2.00** | – | – | – | – |",
        "|  | trio | **2.00** | – | – | – | – |",
    ]
    assert len(rows) == len(SHOWN) * 2 + 5  # five of them on trio, too
    assert len(LOOPS) == 3


def rows_of(lines: Iterator[str]) -> list[list[str]]:
    """The cells of a table's rows, without those of its head."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines][2:]


def measured(*entries: tuple[str, str, float]) -> Summary:
    """A run of one round."""
    summary = Summary({})
    for scenario, contestant, figure in entries:
        quantity, spread = SCENARIOS[scenario].quantity, Spread.of([figure])
        summary.add(Entry(scenario, contestant), quantity, spread, with_spread=True)
    return summary


def test_servers_and_clients_that_receive_in_a_loop() -> None:
    summary = measured(
        ("16x256", "ours-uvloop", 3),
        ("16x256", "ours-receive-uvloop", 4),
        ("client-16x256", "ours-client", 5),
        ("client-16x256", "picows.websockets-client", 4.5),
    )
    server, client = rows_of(Overview(summary, Profile()).receiving())
    assert server[1:] == ["uvloop", "**3.00**", "4.00", "–", "–", "–"]
    assert client[1:] == ["asyncio", "5.00", "–", "**4.50**", "–", "–"]
    assert SCENARIOS["client-16x256"].title in client[0]


def test_asgi_servers_with_their_instructions() -> None:
    summary = measured(
        ("asgi-16x256", "ours-bare-uvloop", 3),
        ("asgi-16x256", "ours-fastapi-uvloop", 6),
        ("asgi-16x256", "fastapi-granian-uvloop", 5),
    )
    counts = {"asgi-16x256": {"ours-bare-uvloop": 7000.0, "bare-wsproto-uvloop": 10000.0}}
    overview = Overview(summary, Profile(instructions=counts))
    bare, fastapi, instructions = rows_of(overview.asgi())
    assert bare[1:] == ["none", "**3.00**", "–", "–", "–", "–"]
    assert fastapi[1:] == ["FastAPI", "6.00", "–", "–", "–", "**5.00**"]
    assert instructions[1:] == ["none", "**7.00**", "–", "10.0", "–", "–"]


def test_only_a_peer_that_takes_less_in_every_round_counts_as_faster() -> None:
    summary = Summary({})
    for contestant in ("ours", "picows", "aiohttp"):
        summary.add(Entry("16x256", contestant), "cpu", Spread(1, 1, 1), with_spread=True)
    summary.add_ratio(Entry("16x256", "ours"), Entry("16x256", "picows"), Spread(1.2, 1.1, 1.3))
    summary.add_ratio(Entry("16x256", "ours"), Entry("16x256", "aiohttp"), Spread(1.2, 1.0, 1.3))
    title = SCENARIOS["16x256"].title
    assert list(Overview(summary, Profile()).slower())[2:] == [
        f"| {title} | picows | asyncio: 1.20 (1.10 to 1.30) |"
    ]
    assert list(Tables(summary).slower())[2:] == [f"| {title} | picows | 1.20 (1.10 to 1.30) |"]


def test_the_first_column_is_the_quantity_that_is_compared() -> None:
    assert {column for columns in COLUMNS.values() for column in columns} == set(HEADINGS)
    for scenario in SCENARIOS.values():
        assert COLUMNS[scenario.kind][0] == scenario.quantity


def test_instructions_stand_in_columns() -> None:
    (echo, _, _), _, (handshake, _, _), *_ = COUNTED
    counts = {echo.name: {"ours": 30.0, "floor": 20.0}, handshake.name: {"floor-uvloop": 5.0}}
    assert list(Instructions(Profile(instructions=counts)).instructions()) == [
        f"| | {echo.title} | ours / theirs | {handshake.title} | ours / theirs |",
        "|---|---|---|---|---|",
        "| wstransports | 30.0 |  |  |  |",
        "| floor: asyncio.Protocol | 20.0 | 1.50 |  |  |",
        "| floor: asyncio.Protocol, uvloop |  |  | 5.00 |  |",
    ]


def test_targets_of_instructions() -> None:
    counts = {"asgi-16x256": {"ours-bare-uvloop": 7.0, "bare-websockets-sansio-uvloop": 10.0}}
    count, _, _, bare, fastapi = Instructions(Profile(instructions=counts)).targets()
    assert count == "1 met, 1 not measured.\n"
    assert bare.endswith("| uvloop: 0.70, **met** |")
    assert fastapi.endswith("| uvloop: **not measured** |")


def test_the_instructions_of_zlib() -> None:
    counts = {"ours": (300.0, 200.0), "websockets": (400.0, 200.0)}
    title = SCENARIOS["deflate-1K"].title
    assert list(Instructions(Profile(compressed={"deflate-1K": counts})).zlib())[2:] == [
        f"| {title} | wstransports | 300 | 66.7 | 100 |  |",
        f"| {title} | websockets | 400 | 50.0 | 200 | 0.75 |",
    ]


def test_the_functions_with_the_most_instructions() -> None:
    counts = {f"f{index}": float(index) for index in range(20)}
    kept = most(counts)
    assert list(kept) == [f"f{index}" for index in range(19, 19 - MOST_FUNCTIONS, -1)]
    assert kept["f19"] == 10.0


def test_the_published_results_are_small() -> None:
    assert PUBLISHED.stat().st_size < 200_000
    assert Path(SAVED).stat().st_size < 20_000
