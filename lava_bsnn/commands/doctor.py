"""The command that checks the installation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .output import JsonOutput

if TYPE_CHECKING:
    from rich.table import Table

    from .checks import Finding

_STYLE = {"OK": "green", "note": "yellow", "problem": "bold red"}


@dataclass(frozen=True, kw_only=True)
class Doctor(JsonOutput):
    """Check this installation; say what to do about each problem.

    Takes about half a minute. Exits with 1 if something needed is broken; what is
    optional, as data sets and lava-loihi, is a note.

    Example: lava-bsnn doctor --json doctor.json
    """

    def __call__(self) -> int:
        from .checks import examine

        self.check_json()
        console = self.console()
        with console.status("checking"):
            findings = examine()
        console.print(_table(findings))
        problems = sum(finding.state == "problem" for finding in findings)
        console.print(f"\n{problems} problem{'s' * (problems != 1)}" if problems else "\nnothing is broken")
        self.write({"ok": not problems, "checks": [finding.as_dict() for finding in findings]})
        return 1 if problems else 0


def _table(findings: list[Finding]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("check", "", "found", box=None, pad_edge=False)
    for finding in findings:
        text = Text(finding.found)
        if finding.remedy:
            text.append(f"\nto do: {finding.remedy}", "bold")
        table.add_row(Text(finding.check), Text(finding.state, _STYLE[finding.state]), text)
    return table
