from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _run(code: str, cwd: Path = ROOT) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, check=True)
    return done.stdout.strip()


def test_packages_are_the_folders_on_disk():
    """An editable install hides a package that the list forgets; a wheel without it is broken."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {"rdtools.kernels", "rdtools.analysis"}
    for path in (ROOT / "rdtools").rglob("*.py"):
        folders.add(".".join(path.parent.relative_to(ROOT).parts))
    assert set(settings["packages"]) == folders


def test_every_module_that_is_imported_by_name_is_in_a_package():
    """A folder below `analysis` or `kernels` is found in an editable install alone."""
    packages = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    named = re.compile(r"^\s*(?:from|import) (rdtools(?:\.\w+)*)\b", re.MULTILINE)
    files = [path for folder in ("rdtools", "analysis", "kernels", "tests") for path in (ROOT / folder).rglob("*.py")]
    imported = {name for path in files if "generated" not in path.parts for name in named.findall(path.read_text())}
    assert len(imported) > 100
    assert {name for name in imported if not {name, name.rpartition(".")[0]} & packages} == set()


def test_pythons_that_are_promised_are_those_that_doctor_calls_tried():
    from rdtools.jobs.doctor import TRIED

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    promised = {line.rpartition(" ")[2] for line in project["classifiers"] if line.startswith("Programming Language :: Python :: 3.")}
    assert promised == {f"{major}.{minor}" for major, minor in TRIED}
    assert project["requires-python"] == f">={min(promised, key=lambda text: int(text.partition('.')[2]))}"
    assert "hypothesis" in project["optional-dependencies"]


def test_top_level_is_as_fixed():
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=False).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    visible = {Path(name).parts[0] for name in tracked if not name.startswith(".")}
    fixed = {"pyproject.toml", "rdtools", "analysis", "kernels", "tests", "figures", "README.md"}
    assert visible == fixed | {"LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff"}


def test_kernels_folder_is_no_package():
    """With an __init__.py it would be taken for the PyPI package of that name, which transformers probes for."""
    assert not (ROOT / "kernels" / "__init__.py").exists()
    assert not [p for p in ROOT.rglob("*") if p.is_dir() and p.name in ("triton", "numba") and ".venv" not in p.parts]


def test_import_is_light():
    heavy = ("torch", "transformers", "triton", "numba", "matplotlib", "pandas", "scipy", "numpy")
    assert _run(f"import sys, rdtools; print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_public_names_load_without_torch():
    code = "import sys, rdtools as rd; [getattr(rd, n) for n in rd.__all__]; print('torch' in sys.modules)"
    assert _run(code) == "False"


#: What layers, theory, quantizers, files and measurements need; the rest is for models, runs, tables and the command line.
CORE = ("numpy", "scipy", "numba", "llvmlite", "constriction", "threadpoolctl", "filelock", "array_api_compat")


def test_layers_theory_and_quantizers_need_no_other_package(tmp_path):
    code = f"""
import sys
from importlib.abc import MetaPathFinder
from importlib.metadata import packages_distributions
core = {CORE} + ("rdtools", "setuptools", "_distutils_hack")
foreign = set(packages_distributions()) - set(core)
class Block(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in foreign and not name.startswith("_editable"):
            raise ModuleNotFoundError(name + " is blocked", name=name)
sys.meta_path.insert(0, Block())
import importlib, pkgutil
import numpy as np
import rdtools as rd
layer = rd.Layer.of(np.random.default_rng(0).standard_normal((64, 16)), np.eye(16))
q = rd.quantizer("watersic", bits=3).quantize(layer)
q.save({str(tmp_path / "w.rdtq")!r})
assert rd.load({str(tmp_path / "w.rdtq")!r}).measure(layer).distortion == q.measure().distortion
for part in ("theory", "quantizers", "measure", "planning", "records", "ops", "transforms", "coding", "moments", "methods"):
    package = importlib.import_module("rdtools." + part)
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
missing = set()
for name in rd.__all__:
    try:
        getattr(rd, name)
    except ModuleNotFoundError:
        missing.add(name)
print(sorted(missing))
"""
    jobs = ["allocate", "collect", "evaluate", "export_saved", "open_run", "plot", "preview", "quantize_model", "rotate_model"]
    jobs += ["run_report", "testing", "tightness", "verify"]
    assert _run(code) == str(jobs)


def test_help_loads_no_heavy_module():
    code = (
        "import sys\n"
        "from rdtools.cli.main import main\n"
        "main(['report', '--help'])\n"
        "print([m for m in ('torch', 'transformers', 'numba', 'matplotlib', 'pandas', 'scipy') if m in sys.modules])"
    )
    assert _run(code).endswith("[]")


def test_kernels_resolve_from_the_checkout_and_elsewhere(tmp_path):
    code = (
        "import importlib.util, rdtools.kernels.sic_sweep_reference as kernel\n"
        "print(kernel.__name__, importlib.util.find_spec('rdtools.analysis.make_all').name)"
    )
    expected = "rdtools.kernels.sic_sweep_reference rdtools.analysis.make_all"
    assert _run(code) == expected
    try:
        assert _run(code, cwd=tmp_path) == expected
    except subprocess.CalledProcessError as error:
        if "No module named 'rdtools'" in error.stderr:
            pytest.skip("rdtools is run from a checkout and not installed")
        raise


def test_no_foreign_kernels_module_comes_from_here():
    import transformers  # noqa: F401  (its probe may leave a namespace entry)

    module = sys.modules.get("kernels")
    assert module is None or getattr(module, "__file__", None) is None or ROOT not in Path(module.__file__).parents
