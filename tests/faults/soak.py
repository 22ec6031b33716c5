"""Damage files of every kind, and kill reports, in large numbers: ``python tests/faults/soak.py --kills 60 --mutations 20000``.

``--mutations N`` damages N containers without and N with new checksums, and N/4 of manifests and tables, each in both ways, and of token
files. ``--kills K`` kills reports with all their processes at random moments of capture, quantization and writing. Every case is drawn by
its number and ``--seed``; one that breaks a promise is printed, and the exit code is then 1.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path[:0] = map(str, Path(__file__).resolve().parents[1:3])

from faults import subjects  # noqa: E402
from faults.limits import Outcome, run_apart  # noqa: E402

#: Kind of file → the cases, and the part of --mutations that it gets.
KINDS = {
    "damaged containers": (subjects.damaged_containers, 1.0),
    "forged containers": (subjects.forged_containers, 1.0),
    "damaged manifests": (subjects.damaged_manifests, 0.25),
    "forged manifests": (subjects.forged_manifests, 0.25),
    "damaged tables": (subjects.damaged_tables, 0.25),
    "forged tables": (subjects.forged_tables, 0.25),
    "token files": (subjects.tokens, 0.25),
}


def report(kind: str, outcome: Outcome, seconds: float) -> None:
    """One line, and one for each of the first violations."""
    counts = ", ".join(f"{count} {name}" for name, count in sorted(outcome.counts.items()))
    most = f"at most {outcome.slowest:.2f} s and {outcome.largest / 1e6:.0f} MB for a case"
    print(f"{kind}: {counts}; {len(outcome.violations)} violations; {most}; {seconds:.0f} s", flush=True)
    for number, what in outcome.violations[:20]:
        print(f"  case {number}: {what}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS), help="comma-separated; by default all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    violations = 0
    for kind in options.kinds.split(","):
        prepare, part = KINDS[kind]
        started = time.monotonic()
        outcome = run_apart(functools.partial(prepare, options.seed), range(int(part * options.mutations)))
        report(kind, outcome, time.monotonic() - started)
        violations += len(outcome.violations)
    return 1 if violations else 0


if __name__ == "__main__":
    raise SystemExit(main())
