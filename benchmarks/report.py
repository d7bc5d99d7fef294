"""A result's folder: figures as JSON, named after the machine, the report, and its charts."""

import json
from pathlib import Path

from .charts import write_charts
from .machine import file_name
from .markdown import write_markdown
from .results import Result

REPORT = "report.md"


def write_report(result: Result, folder: Path) -> Path:
    """Write all of a result; an earlier one of the same machine is replaced.

    Returns
    -------
    Path
        Of the report in Markdown.

    Raises
    ------
    OSError
        If the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = json.dumps(result.to_dict(), indent=1)
    (folder / f"{file_name(result.machine)}.json").write_text(figures + "\n", encoding="utf-8")
    report = folder / REPORT
    report.write_text(write_markdown(result, write_charts(result, folder)), encoding="utf-8")
    return report
