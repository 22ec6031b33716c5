"""Jobs called from Python, without a command line."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from conftest import quick_figures

import rdtools as rd
from rdtools.errors import Busy, CorruptFile, NotEnoughMemory, UsageError, WrongType
from rdtools.files import sole_writer
from rdtools.jobs.plan import preview
from rdtools.jobs.report import run_report
from rdtools.jobs.settings import ReportSettings, read_settings
from rdtools.jobs.show import show
from rdtools.jobs.theory import theory
from rdtools.jobs.verify import choose_claims
from rdtools.sweep.memory import PROCESS_BYTES, process_bytes


@pytest.fixture(autouse=True)
def _quick():
    with quick_figures():
        yield


@pytest.fixture
def settings(tiny_llama, tiny_tokens, tmp_path):
    return ReportSettings(
        model=str(tiny_llama),
        tokens=tiny_tokens,
        out=tmp_path / "run",
        methods=("rtn-midrise", "gptq-midrise+haar"),
        rates=(3.0, 2.0),
        workers=1,
    )


@pytest.mark.usefixtures("quick_calibration")
def test_a_report_from_python_is_the_run_with_its_tables(settings):
    said, stages = [], []

    def stage(title, counted):
        from contextlib import nullcontext

        stages.append(title)
        return nullcontext(lambda done, total: None)

    before = preview(settings)
    assert (before.captured, before.rows, before.remaining_rows, before.layers, before.tasks) == (False, 56, 56, 14, 16)
    assert not settings.out.exists()
    made = run_report(settings, say=said.append, stage=stage)
    assert made.complete
    assert made.page.is_file()
    assert stages == ["Hessians", "Quantize, code, measure", "Figures and page"]
    assert said == []
    run = rd.open_run(settings.out)
    pd.testing.assert_frame_equal(run.results, made.table, check_dtype=False)
    pd.testing.assert_frame_equal(run.curves, made.curves)
    pd.testing.assert_frame_equal(show(settings.out).table, run.results)
    assert show(settings.out).outdated == ""
    assert run["0.q_proj"].key.type == "q_proj"
    assert theory(settings.out)["layer"].tolist() == list(run)
    after = preview(settings)
    assert (after.remaining_rows, after.tasks, after.times) == (0, 0, ())


def test_a_dry_run_counts_memory_and_minutes_and_refuses_what_does_not_fit(settings, monkeypatch):
    """Two processes at layers of 24 × 16 beside this one; half a minute per row of one method, none known of the other."""
    settings = settings.changed({"workers": 2, "types": ["gate_proj"], "rates": [3.0]})
    asked = []

    def calibrate(quantizers, heldout):
        asked.extend(quantizers)
        return {"rtn-midrise": [(1, 1, 30.0)]}

    found = rd.preview(settings, calibrate=calibrate)
    assert asked == settings.quantizers()
    assert [(one.method, one.rows, one.minutes) for one in found.times] == [
        ("bounds and curves", 2, None), ("rtn-midrise", 2, 0.5), ("gptq-midrise+haar", 2, None)
    ]  # fmt: skip
    assert found.memory_bytes == max(found.capture_bytes, PROCESS_BYTES + 2 * process_bytes([(24, 16)]))
    monkeypatch.setattr("rdtools.machine.free_memory", lambda: PROCESS_BYTES)
    with pytest.raises(NotEnoughMemory, match=r"gate_proj: a process that quantizes it: needs [\d.]+ GB of memory, 0\.4 GB are free"):
        preview(settings, calibrate=calibrate)
    monkeypatch.setattr("rdtools.machine.free_memory", lambda: 1000)
    with pytest.raises(NotEnoughMemory, match=r"tiny: a capture of 192 tokens: needs [\d.e-]+ GB of memory"):
        preview(settings, calibrate=calibrate)


def test_a_finished_report_is_left_as_it_is_until_something_changes(settings, monkeypatch):
    """Not until a file of it, its rows, the command or the code that writes it are others."""
    settings = settings.changed({"types": ["o_proj"]})

    def again(**changes):
        stages = []

        def stage(title, counted):
            from contextlib import nullcontext

            stages.append(title)
            return nullcontext(lambda done, total: None)

        made = run_report(settings, stage=stage, **changes)
        return made, "Figures and page" in stages

    first, _ = again()
    before = {path: path.stat().st_mtime_ns for path in settings.out.rglob("*") if path.is_file()}
    before = {path: time for path, time in before.items() if path.name not in ("tasks.json", "plan.json") and "leases" not in path.parts}
    same, written = again()
    assert not written
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert same.page == first.page
    pd.testing.assert_frame_equal(same.table, first.table)
    (settings.out / "paired.csv").write_text("altered")
    assert again()[1]
    next((settings.out / "figures").glob("*.png")).unlink()
    assert again()[1]
    assert not again()[1]
    assert again(command="another")[1]
    assert again(command="another", rates=(1.0, 2.0, 3.0))[1]
    assert not again(command="another")[1]
    monkeypatch.setattr("rdtools.jobs.report.version", lambda name: "99")
    assert again(command="another")[1]


def test_every_seed_has_rows_and_one_worker_gives_those_of_two(settings, tmp_path):
    chosen = {"seeds": [0, 7], "types": ["o_proj"], "methods": [*settings.methods, "hptq", "watersic"]}
    made = run_report(settings, **chosen)
    two = run_report(settings, **chosen, workers=2, out=tmp_path / "two")
    alone = made.table
    pd.testing.assert_frame_equal(alone.drop(columns="wall_s"), two.table.drop(columns="wall_s"))
    pd.testing.assert_frame_equal(made.curves, two.curves)
    assert alone.groupby(["layer", "method", "target_bpw"])["seed"].apply(list).tolist() == [[0, 7]] * 16
    rotated = alone[alone["method"] == "gptq-midrise+haar"]
    assert (rotated.groupby(["layer", "target_bpw"])["distortion"].nunique() == 2).all()
    added = run_report(settings, seeds=[1], types=["o_proj"]).table
    assert set(added["seed"]) == {0, 1, 7}


def test_a_report_does_not_replace_the_table_of_another_version(settings):
    settings = settings.changed({"types": ["o_proj"], "methods": ["rtn-midrise"], "rates": [2.0]})
    run_report(settings)
    table = settings.out / "results.parquet"
    pd.DataFrame({"layer": ["a"], "target_rate_bits": [3.0]}).to_parquet(table)
    before = table.read_bytes()
    with pytest.raises(UsageError, match=r"columns of rdtools 0\.1, .* make a new run: rdtools report with .*-schema-3 as `out`"):
        run_report(settings)
    assert table.read_bytes() == before
    assert run_report(settings, fresh=True).complete


@pytest.mark.parametrize("seeds", [(), (-1,), (0, 2**63), (0.5,)])
def test_seeds_out_of_range_are_refused_before_any_work(seeds, settings):
    with pytest.raises(UsageError, match="`seeds`"):
        ReportSettings(seeds=seeds, out=settings.out)
    assert not settings.out.exists()


def test_a_second_coordinator_is_refused(settings):
    with sole_writer(settings.out), pytest.raises(Busy, match="another rdtools is writing there"):
        run_report(settings)


def test_a_config_file_has_the_attributes_as_keys(tmp_path):
    config = tmp_path / "sweep.toml"
    config.write_text('out = "x"\nmethods = ["gptq"]\nrates = [2, 3.5]\nseeds = [1]\nlayers = ["*.0.*"]\nskip_infeasible = true\n')
    expected = ReportSettings(methods=("gptq",), rates=(2.0, 3.5), seeds=(1,), layers=("*.0.*",), skip_infeasible=True, out="x")
    assert read_settings(config) == expected
    for text, error, words in (
        ('methds = ["gptq"]', UsageError, "sweep.toml: 'methds': no setting of a report; the nearest is 'methods'"),
        ('rates = ["two"]', UsageError, "sweep.toml: `rates`"),
        ('methods = "gptq"', UsageError, "sweep.toml: `methods`"),
        ("seeds = [-1]", UsageError, "sweep.toml: `seeds` -1"),
        ("workers = -1", UsageError, "sweep.toml: `workers` -1"),
        ("rates = [", CorruptFile, "sweep.toml: not TOML"),
    ):
        config.write_text(text)
        with pytest.raises(error, match=words):
            read_settings(config)
    with pytest.raises(UsageError, match=r"none\.toml: cannot be read"):
        read_settings(tmp_path / "none.toml")


def test_settings_of_another_type_are_refused():
    with pytest.raises(UsageError, match="`methods` 'gptq': expected a list"):
        ReportSettings(methods="gptq")
    with pytest.raises(UsageError, match="'bits': no setting of a report"):
        run_report(bits=3)
    for settings in ("k4", {"model": "k4"}, 5):
        with pytest.raises(WrongType, match=r"run_report: got .*(k4|5).*, expected ReportSettings, or each setting by its name"):
            run_report(settings)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("methods", "rtn", "'rtn': expected a list of names, at least one, such as"),
        ("methods", (), "(): expected a list of names, at least one, such as"),
        ("rates", (), "(): expected a list of bits per weight, at least one, such as [2, 3, 4]"),
        ("rates", 3, "3: expected a list of bits per weight, at least one, such as [2, 3, 4]"),
        ("layers", 5, "5: expected a list of patterns, at least one, such as ['*.0.*']"),
        ("out", None, "None: expected the path of a directory, such as 'rdtools-report'"),
        ("evaluation_text", 5, "5: expected the path of a file, such as 'calibration.txt'"),
        ("workers", -1, "-1: expected a whole number from 0 on, such as 2"),
        ("head", "maybe", "'maybe': expected true or false"),
    ],
)
def test_a_value_that_a_setting_cannot_have_is_refused_in_a_sentence(name, value, expected):
    for refuse in (ReportSettings, run_report):
        with pytest.raises(UsageError, match=re.escape(f"`{name}` {expected}")):
            refuse(**{name: value})


def test_settings_take_lists_and_numbers_of_numpy():
    made = ReportSettings(rates=np.array([2, 3]), seeds=np.arange(2), workers=np.int64(2), out="x")
    assert made == ReportSettings(rates=(2.0, 3.0), seeds=(0, 1), workers=2, out="x")


def test_claims_are_checked_on_layers(tmp_path):
    rng = np.random.default_rng(0)
    layer = rd.Layer.from_activations(rng.standard_normal((8, 4)), rng.standard_normal((32, 4)), name="mine")
    seen = []
    table = rd.verify([layer], claims=["quip.lemma-2", *choose_claims(["quip.feedback-helps"])], each=seen.append, out=tmp_path / "v.csv")
    assert table["status"].tolist() == ["holds", "holds"]
    assert table["claim"].tolist() == [row["claim"] for row in seen] == pd.read_csv(tmp_path / "v.csv")["claim"].tolist()
    with pytest.raises(UsageError, match="no claim of this name"):
        rd.verify([layer], claims=["none"])
