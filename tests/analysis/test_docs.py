"""The documentation, but for Sphinx, which `.ci/run` runs: its tables are complete, its examples run, and what it names exists."""

from __future__ import annotations

import inspect
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
from rdtools_docs import container, examples, gallery, inventories, pages, reference
from typer.main import get_command

from rdtools.cli.main import app
from rdtools.coding import decode
from rdtools.docstrings import entries, sections
from rdtools.methods import METHODS
from rdtools.records.evaluation_row import EVALUATION_COLUMNS
from rdtools.records.foreign_rows import FOREIGN_COLUMNS
from rdtools.records.rows import COLUMNS
from rdtools.report.figures import MODULES

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "analysis" / "docs"
SOURCES = sorted(path.stem for path in DOCS.glob("*.md"))


@pytest.fixture(scope="module")
def filled():
    """Pages with numbers and tables filled in."""
    return {name: pages.fill((DOCS / f"{name}.md").read_text()) for name in SOURCES}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Pages that are made from tables alone."""
    folder = tmp_path_factory.mktemp("docs")
    pages.write(folder)
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.md")}


def test_every_method_has_a_card(written, filled):
    """Equation, cost and difference to the paper's code are the class's; rates, settings and source the entry's."""
    cards = "\n".join(text for name, text in written.items() if name.startswith("methods/"))
    for name, entry in METHODS.items():
        assert cards.count(f"\n(method-{name})=\n") == 1
        assert f"(#method-{name})" in filled["methods"]
        assert entry.description in cards
    for kind in reference.card_classes():
        heads = re.findall(r"^## (.+)$", written[f"methods/{kind}.md"], flags=re.MULTILINE)
        assert heads == ["Equation", "Cost", "Difference to the paper's code", "Settings", "Names"]


def test_no_card_is_of_a_class_that_is_gone():
    assert {path.stem for path in (DOCS / "methods").glob("*.md")} == set(reference.card_classes())


def test_every_column_is_defined(filled):
    for column in (*COLUMNS, *EVALUATION_COLUMNS, *FOREIGN_COLUMNS):
        assert f"| `{column.name}` |" in filled["columns"]


def test_every_command_and_option_is_listed(filled):
    listed = dict(re.findall(r"^## `(rdtools .+?)`\n(.*?)(?=^## |\Z)", filled["commands"], flags=re.MULTILINE | re.DOTALL))
    known = dict(pages.commands())
    assert listed.keys() == known.keys()
    for name, command in known.items():
        for parameter in command.params:
            spelling = parameter.opts[0] if parameter.param_type_name == "option" else parameter.name.upper()
            assert f"`{spelling}`" in listed[name]


def test_exit_codes_are_those_of_the_command(filled):
    codes = {int(code) for cell in re.findall(r"^\| ([\d, ]+) \|", filled["messages"], flags=re.MULTILINE) for code in cell.split(",")}
    assert codes == {0, *map(int, re.findall(r"(?<![\w.])\d+(?= )", pages.main_codes()))}
    assert {kind.exit_code for kind in pages.error_classes()} <= codes


def test_every_figure_whose_rows_are_kept_is_in_the_gallery():
    """One without is said by ``rdtools figures --run figures``, and joins when its rows do."""
    shown = dict(gallery.scripts())
    assert {"gap_to_rd", "trellis_frontier", "equal_footing", "bench"} <= set(shown) <= set(MODULES)
    for name, text in shown.items():
        assert MODULES[name].CAPTION.title in text
        compile(text, name, "exec")


def test_the_test_vector_is_explained_to_the_last_byte():
    fields = container.column_fields()
    data = b"".join(field.data for field in fields)
    assert data == (container.GOLDEN / "column.bin").read_bytes()
    values = {field.name: field.value for field in fields}
    weight = decode(data)
    symbols, basis = weight.symbols, weight.basis
    assert (values["columns n"], values["rows m"]) == (len(basis.active), basis.rows)
    assert (values["seed of the input rotation"], values["step"]) == (basis.rotation.seed, symbols.grid.step)
    assert bytes.fromhex(values["step exponents"]) == symbols.grid.exponents.tobytes()
    assert (values["weight standard deviation"], values["noise variance"]) == (symbols.model.weight_std, symbols.model.noise_variance)
    assert values["gain std"] == symbols.gains.lmmse_std
    side = next(field for field in fields if field.name == "seed of the input rotation").offset
    assert values["bytes of side information"] == fields[-1].offset - side
    assert len(container.golden_files()) == len(list(container.GOLDEN.glob("*.bin")))


@pytest.mark.parametrize("page", examples.PAGES)
def test_examples_run_up_to_the_first_command(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert examples.run_page(page, commands=False) == []


def test_an_example_with_another_output_is_found():
    assert "Expected:" in examples.run_python(">>> 1 + 1\n3\n", {}, "wrong")


@pytest.mark.parametrize("page", SOURCES)
def test_command_lines_are_understood(page):
    root = get_command(app)
    for language, text in examples.blocks(page):
        for line in text.splitlines() if language == "bash" else ():
            words = shlex.split(line)
            assert words[0] == "rdtools"
            root.commands[words[1]].make_context(words[1], words[2:])


def test_examples_are_run_on_every_page_that_has_some():
    assert {page for page in SOURCES if any(examples.blocks(page))} == set(examples.PAGES)


def test_what_is_named_exists(filled):
    for name, text in filled.items():
        if name == "changelog":
            continue
        for path in re.findall(r"`((?:rdtools|kernels|analysis|tests|figures)/[\w/.-]+)`", text):
            assert (ROOT / path).exists(), (name, path)
        for module in re.findall(r"`(rdtools(?:\.\w+)+)`", text):
            assert reference.resolve(module, import_module("rdtools"), None) is not None, (name, module)
        for page in re.findall(r"\]\((\w+)\.md", text):
            assert page in SOURCES, (name, page)


def test_numbers_are_refused_where_no_row_has_them():
    assert pages.number("results", "rate_gap_total_bpw", method="watersic", target_bpw=3) == "0.296"
    with pytest.raises(KeyError, match=r"results\.csv has no row"):
        pages.number("results", "rate_gap_total_bpw", method="watersick")


def test_names_in_public_docstrings_resolve(monkeypatch):
    """A name of rdtools is an object, or `resolve` raises; one of another project has a line in an inventory."""
    seen, unknown = 0, []
    monkeypatch.setattr(reference, "external_name", lambda kind: inventories.external_name(kind) or unknown.append(kind))
    for package, names in reference.pages().items():
        module = import_module(package)
        for name in names:
            value = getattr(module, name)
            home = inspect.getmodule(value)
            assert reference.numpydoc_form(value, inspect.cleandoc(value.__doc__), home, None)
            seen += 1
    assert seen > 200
    assert {kind.__module__.partition(".")[0] for kind in unknown} <= {"rdtools"}
    with pytest.raises(AttributeError, match="gone"):
        reference.numpydoc_form(pages.number, "See `rdtools.theory.sic.gone`.", pages, None)


def test_every_record_field_on_a_public_page_has_a_meaning():
    for package, names in reference.pages().items():
        for name in names:
            value = getattr(import_module(package), name)
            if inspect.isclass(value) and "Attributes" in (value.__doc__ or ""):
                missing = [field for field, (_, meaning) in reference.class_fields(value).items() if not meaning]
                assert missing == [], f"{package}.{name}"


def _functions():
    """Every public function and method, by its full name."""
    for package, names in reference.pages().items():
        for name in names:
            value = getattr(import_module(package), name)
            inner = {part: getattr(inner, "__func__", inner) for part, inner in vars(value).items()} if inspect.isclass(value) else {}
            yield f"{package}.{name}", value
            yield from ((f"{package}.{name}.{part}", f) for part, f in inner.items() if inspect.isfunction(f) and not part.startswith("_"))


def test_documented_parameters_are_those_of_the_signature():
    for name, value in _functions():
        if "Parameters" in (parts := dict(sections(inspect.cleandoc(value.__doc__ or "")))):
            known = inspect.signature(value.__init__ if inspect.isclass(value) else value).parameters
            assert set() < set(entries(parts["Parameters"])) <= set(known), name


def test_inventories_are_what_sphinx_reads(tmp_path):
    inventory = pytest.importorskip("sphinx.util.inventory", reason="Sphinx is not installed: pip install -e '.[docs]'")
    for project, (_, path) in inventories.write(tmp_path).items():
        data = inventory.InventoryFile.loads(Path(path).read_bytes(), uri="x").data
        assert sum(map(len, data.values())) == len((inventories.FOLDER / f"{project}.txt").read_text().splitlines()) - 1


def test_formulas_are_mathml():
    latex = pytest.importorskip("docutils.utils.math.latex2mathml", reason="docutils is not installed: pip install -e '.[docs]'")
    for path in [*DOCS.glob("*.md"), *(DOCS / "methods").glob("*.md")]:
        for formula in re.findall(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", path.read_text(), flags=re.DOTALL):
            text = "".join(formula)
            assert not re.search(r"\\(frac|sqrt)\s*[^{\s]", text), (
                f"{path.name}: braces are needed, the translator takes \\frac12 for 12 over what follows"
            )
            assert latex.tex2mathml(text).startswith("<math")
