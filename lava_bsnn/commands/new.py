"""The command that begins a project."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated

import tyro

from ..errors import LavaBsnnError
from .output import JsonOutput


@dataclass(frozen=True, kw_only=True)
class New(JsonOutput):
    """Begin a project of your own: data, network, recipe, test.

    It runs as it is, on simulated recordings. Its README.md says how.

    Example: lava-bsnn new gestures
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Folder to make; it has to be empty if it is there."""

    def __call__(self) -> None:
        self.check_json()
        files = write_project(self.folder)
        console = self.console()
        console.print(f"{self.folder}: {', '.join(files)}", soft_wrap=True)
        console.print(f"next: cd {self.folder} && lava-bsnn train recipe.yaml", soft_wrap=True)
        self.write({"folder": str(self.folder), "files": files})


def write_project(folder: Path) -> list[str]:
    """Write the files of a new project; return their names.

    Raises:
        LavaBsnnError: the folder is not empty, or cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = sorted(path.name for path in folder.iterdir())
        if there:
            raise LavaBsnnError(f"{folder}: is not empty ({', '.join(there[:3])}); give a new folder")
        template = resources.files("lava_bsnn") / "template"
        files = sorted(entry.name for entry in template.iterdir() if entry.is_file())
        for name in files:
            (folder / name).write_text((template / name).read_text(encoding="utf-8"), encoding="utf-8")
    except OSError as error:
        raise LavaBsnnError(f"{folder}: cannot be written ({error.strerror}); give another folder") from error
    return files
