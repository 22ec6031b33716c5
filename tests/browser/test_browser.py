"""The page in a real browser, which is started once."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdtools.analysis import page_speed
from rdtools.analysis.page_speed import browser, chromium, synthetic_curves, synthetic_run, synthetic_table

from rdtools.records.rows import COLUMNS
from rdtools.report import Verdicts, write_page
from rdtools.report.decimals import decimals_of
from rdtools.report.page import PRINTED_ROWS
from rdtools.report.paired import COLUMNS as COLUMNS_OF_PAIRS

FIGURES = Path(__file__).resolve().parents[2] / "figures"
NO_PAIRS = pd.DataFrame(columns=list(COLUMNS_OF_PAIRS))
NONE = Verdicts(pd.DataFrame(columns=["subject"]), "No claims were checked.")

pytest.importorskip("playwright", reason="the package playwright, which drives the browser, is not installed")
pdfium = pytest.importorskip("pypdfium2", reason="the package pypdfium2, which reads what is printed, is not installed")
pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def started():
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def table():
    """A block of seven layers: 273 rows, one in a hundred infeasible."""
    return synthetic_table(7)


@pytest.fixture(scope="module")
def page(tmp_path_factory, table):
    folder = tmp_path_factory.mktemp("run")
    return write_page(synthetic_run(folder, 7, columns=32), table, synthetic_curves(7), NO_PAIRS, {}, verdicts=NONE, command="none")


@pytest.fixture
def tab(started, page):
    """The page, opened; whatever it says in the console fails the test."""
    context = started.new_context(viewport={"width": 1280, "height": 800})
    opened, said = context.new_page(), []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: None if request.url.startswith(("file:", "data:", "blob:")) else said.append(request.url))
    opened.goto(page.as_uri())
    opened.wait_for_selector("#rows tbody th")
    yield opened
    context.close()
    assert said == []


def _column(tab, name, *, rows="#rows tbody tr:not(.filler)"):
    at = tab.evaluate("(name) => page.rows.columns.findIndex((c) => c.name === name)", name) + 1
    return tab.locator(f"{rows} > :nth-child({at})").all_inner_texts()


def _press(tab, name):
    at = tab.evaluate("(name) => page.rows.columns.findIndex((c) => c.name === name)", name) + 1
    head = tab.locator(f"#rows thead th:nth-child({at})")
    head.locator("button").focus()
    tab.keyboard.press("Enter")
    return head.get_attribute("aria-sort")


def test_rows_are_sorted_filtered_and_read_by_screen_readers(tab, table):
    gaps, wanted = "rate_gap_total_bpw", [f"{v:.4f}" for v in sorted(table["rate_gap_total_bpw"].dropna())]
    assert len(_column(tab, gaps)) < 60, "only the rows in sight are elements"
    assert _press(tab, gaps) == "ascending"
    assert _column(tab, gaps)[:10] == wanted[:10]
    assert _press(tab, gaps) == "descending"
    assert _column(tab, gaps)[:10] == wanted[::-1][:10], "missing numbers are last this way too"
    assert tab.locator("#rows [aria-sort=ascending]").count() == 0
    tab.select_option("#rows-tools select[name=method]", label="watersic")
    tab.select_option("#rows-tools select[name=target_bpw]", label="3")
    own = table[(table["method"] == "watersic") & (table["target_bpw"] == 3)]
    assert tab.inner_text("#rows-count") == f"{len(own)} of {len(table)} rows"
    assert [float(v) for v in _column(tab, gaps) if v != "–"] == [round(v, 4) for v in sorted(own[gaps].dropna(), reverse=True)]
    assert tab.locator("#rows table").get_attribute("aria-rowcount") == str(len(own) + 1)
    assert tab.locator("#rows tbody tr:nth-child(2)").get_attribute("aria-rowindex") == "2"
    tab.fill("#rows-tools input[type=search]", "mlp.up")
    assert _column(tab, "layer") == ["mlp.up_proj"], "what all names begin with is left out"
    assert tab.locator("#rows tbody th[scope=row]").count() == 1
    tables = "[...document.querySelectorAll('table:not([role=presentation])')]"
    assert tab.evaluate(f"{tables}.every((t) => t.caption?.textContent.trim() && t.querySelector('th[scope=col]'))")
    assert tab.evaluate("[...document.querySelectorAll('input, select')].filter((c) => !c.labels.length).length") == 0


def test_the_last_row_is_reached_by_scrolling(tab, table):
    tab.evaluate("document.getElementById('rows').scrollTop = 1e9")
    tab.wait_for_selector(f"#rows tbody tr[aria-rowindex='{len(table) + 1}']")


def test_a_layer_has_its_own_view_and_address(tab, table):
    name = table["layer"].iloc[-1]
    tab.locator("#layers tbody a").last.click()
    tab.wait_for_function("(name) => document.getElementById('layer-title').textContent === name", arg=name)
    assert tab.evaluate("location.hash") == f"#layer={name}"
    assert tab.evaluate("document.activeElement.id") == "layer-title"
    assert tab.locator("#layer-rows tbody tr").count() == 39
    assert tab.locator("#layer-curve canvas").count() == tab.locator("#layer-spectrum canvas").count() == 1
    assert "water level, 3 bits" in tab.inner_text("#layer-spectrum")
    assert "R(D), one variance" in tab.inner_text("#layer-curve")
    own = table[table["layer"] == name]["total_bpw"]
    shown = tab.locator("#layer-rows tbody tr > :nth-child(4)").all_inner_texts()
    assert sorted(v for v in shown if v != "–") == sorted(f"{v:.4f}" for v in own.dropna())
    tab.click("#layer-before")
    tab.wait_for_function("(name) => document.getElementById('layer-title').textContent !== name", arg=name)


def test_a_telephone_scrolls_tables_and_not_the_page_and_dark_is_dark(tab):
    tab.set_viewport_size({"width": 390, "height": 844})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert tab.evaluate("Math.max(...[...document.querySelectorAll('.heat tbody th')].map((t) => t.offsetHeight))") < 60
    light = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    tab.emulate_media(color_scheme="dark")
    assert (light, tab.evaluate("getComputedStyle(document.body).backgroundColor")) == ("rgb(255, 255, 255)", "rgb(20, 24, 28)")


def test_summaries_need_no_script(started, page, table):
    context = started.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(page.as_uri())
    for words in ("Gap to R(D), one variance, at 3 bits", "watersic-trellis", "results.parquet", "Terms", "sha256"):
        assert words in opened.inner_text("body")
    assert opened.locator(".heat").count() == 3
    context.close()


def _printed(started, path):
    """All that a page prints, without spaces and ends of lines."""
    opened = started.new_page()
    opened.goto(path.as_uri())
    opened.wait_for_selector("#rows tbody th")
    document = pdfium.PdfDocument(opened.pdf(prefer_css_page_size=True))
    opened.close()
    return re.sub(r"\s+", "", "".join(sheet.get_textpage().get_text_bounded() for sheet in document))


def test_print_of_the_embedded_run_loses_nothing(started, tmp_path):
    """Every cell of its 2,016 rows is on paper, below the name of its layer."""
    table = pd.read_csv(FIGURES / "results.csv").reindex(columns=[column.name for column in COLUMNS])
    assert 1000 < len(table) <= PRINTED_ROWS
    table = table.assign(
        rate_kind="entropy_shared", n_tokens=1, wall_s=0.0, message=np.where(table["block"] == 3, "a note", ""), rows=1, columns=1
    )
    run, curves = synthetic_run(tmp_path, 42, columns=8), pd.DataFrame(columns=["layer", "curve", "rate_bpw", "distortion"])
    path = write_page(run, table, curves, NO_PAIRS, {}, verdicts=NONE, command="none")
    printed = _printed(started, path)
    about = {column.name: column for column in COLUMNS}
    columns = [(table[name].to_numpy(), decimals_of(about[name], table[name].to_numpy())) for name in ("total_bpw", "rate_gap_total_bpw")]
    start = -1
    for layer in dict.fromkeys(table["layer"]):
        start = printed.index(layer + "rtn2ok", start + 1)
        rest = printed[start:]
        for row in np.flatnonzero(table["layer"] == layer):
            total, gap = (decimals.text(values[row]) for values, decimals in columns)
            here = rest.index(f"{table['method'][row]}{table['target_bpw'][row]:g}ok")
            rest = rest[here:]
            assert total in rest[:150], (layer, row)
            assert gap in rest[:150], (layer, row)
    assert printed.count("anote") == int((table["block"] == 3).sum())
    assert "relativedistortion" in printed, "what is folded away on the screen is printed"


def test_print_of_more_rows_names_the_files_that_have_them(started, tmp_path, table, monkeypatch):
    monkeypatch.setattr("rdtools.report.page.PRINTED_ROWS", 100)
    path = write_page(synthetic_run(tmp_path, 7, columns=8), table, synthetic_curves(7), NO_PAIRS, {}, verdicts=NONE, command="none")
    printed = _printed(started, path)
    assert "273rowsaretoomanytoprint:allofthemareinresults.parquetandresults.csv" in printed
    assert "watersic-mmse2ok" not in printed
    assert "model.layers.0.mlp.down_proj" in printed, "its seven layers are few enough"


def test_speed_is_measured_and_most_of_the_targets_are_kept(started, page):
    """Of a small page; a sort and a filter take no more of its thread than the time that a large one has for them."""
    found = page_speed.measure(page, started)
    assert {"first table", "table of all rows, after that", "filter by text"} < set(found)
    assert found["first table"][1] < 2.0
    assert max(cpu for name, (_, cpu) in found.items() if name.startswith(("sort", "filter"))) < 0.3
