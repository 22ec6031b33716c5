"""Many quantizations: planned, run in parallel, resumed, kept as one table."""

from rdtools.sweep.engines.local import run_tasks as run_tasks
from rdtools.sweep.job import SweepResult as SweepResult
from rdtools.sweep.job import agenda as agenda
from rdtools.sweep.job import do_tasks as do_tasks
from rdtools.sweep.job import run_sweep as run_sweep
from rdtools.sweep.memory import choose_workers as choose_workers
from rdtools.sweep.memory import claim_bytes as claim_bytes
from rdtools.sweep.memory import default_workers as default_workers
from rdtools.sweep.memory import process_bytes as process_bytes
from rdtools.sweep.memory import worker_bytes as worker_bytes
from rdtools.sweep.plan import Task as Task
from rdtools.sweep.plan import plan as plan
from rdtools.sweep.plan import planned_methods as planned_methods
from rdtools.sweep.plan import preparation_of as preparation_of
from rdtools.sweep.task import quantize_layers as quantize_layers
from rdtools.sweep.verification import plan_claims as plan_claims
