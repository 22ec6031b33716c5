"""Tables, figures and the page of a run."""

from rdtools.report.claims_table import Verdicts as Verdicts
from rdtools.report.claims_table import read_verdicts as read_verdicts
from rdtools.report.figures import write_figures as write_figures
from rdtools.report.page import PAGE as PAGE
from rdtools.report.page import write_page as write_page
from rdtools.report.paired import paired_differences as paired_differences
from rdtools.report.paired import paired_lines as paired_lines
from rdtools.report.paired import paired_table as paired_table
from rdtools.report.paired import write_paired as write_paired
from rdtools.report.tables import problem_lines as problem_lines
from rdtools.report.tables import terminal_head as terminal_head
from rdtools.report.tables import terminal_note as terminal_note
from rdtools.report.tables import terminal_tables as terminal_tables
