"""What was measured, to read: a self-contained HTML page with a JSON twin, and the table for the terminal. No torch.

`build(folder)` writes the page of a study or a run. The way of a number: `reading` (from the store) -> `measure` (by
`offleash.boundary`) -> `facts` (report.json) -> `tables`, `figures`, `grid` -> `study_page` -> templates/.
"""

from offleash.report.build import build
from offleash.report.history import incomplete
from offleash.report.tables import Row, render_text, study_table, summary

__all__ = ["Row", "build", "incomplete", "render_text", "study_table", "summary"]
