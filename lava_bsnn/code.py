"""Code that recipes name as ``package.module:function``, and from where it may come.

A recipe, or the folder of a run, may come from somebody else. What it names is imported only from files
below the working folder, and not from folders of runs; anything else has to be allowed.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import inspect
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from .errors import LavaBsnnError, OptionError

RUN_FILE = "config.yaml"
"""File that makes a folder that of a run."""
_NAME = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*:[A-Za-z_]\w*", re.ASCII)
_allowed: ContextVar[bool] = ContextVar("allowed", default=False)


class _RefusedError(Exception):
    """Why code is not imported, in words."""


@contextlib.contextmanager
def allowing(allow: bool = True) -> Iterator[None]:
    """Inside, recipes may name any code that Python can import; ``allow=False`` changes nothing."""
    before = _allowed.set(allow or _allowed.get())
    try:
        yield
    finally:
        _allowed.reset(before)


def is_code(name: str) -> bool:
    """Whether a name in a recipe is one of code."""
    return ":" in name


def check(names: Iterable[str]) -> None:
    """Refuse code that is not the user's own, before anything of it is imported.

    Raises:
        OptionError: a name is malformed, or code that is not allowed; all such names are told.
    """
    refused = []
    for name in names:
        if not _NAME.fullmatch(name):
            raise OptionError(f"recipe: {name!r} is no name of code; use package.module:function")
        try:
            if not _allowed.get():
                _file_of(name.partition(":")[0])
        except _RefusedError as reason:
            refused.append(f"{name} ({reason})")
    if refused:
        raise _not_allowed(refused)


def imported(name: str) -> Callable[..., Any]:
    """What ``package.module:function`` names; a class does as well.

    Raises:
        OptionError: as :func:`check`; or the module cannot be imported, or has no such function.
    """
    check([name])
    module_name, _, attribute = name.partition(":")
    root = str(Path.cwd())
    if root not in sys.path:
        sys.path.append(root)  # last, so that nothing in it takes the place of what is installed
    try:
        module = _import(module_name)
    except _RefusedError as reason:
        raise _not_allowed([f"{name} ({reason})"]) from None
    except LavaBsnnError:
        raise
    except Exception as error:
        raise OptionError(f"{name}: cannot be imported: {told(error)}; mend it") from error
    found = getattr(module, attribute, None)
    if not callable(found):
        near = difflib.get_close_matches(attribute, dir(module), n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "define it there"
        raise OptionError(f"{name}: {module.__file__} has no function or class {attribute!r}; {hint}")
    try:
        _check_home(found, module_name)
    except _RefusedError as reason:
        raise _not_allowed([f"{name} ({reason})"]) from None
    return found


def called(name: str, given: Mapping[str, Any], options: Mapping[str, Any], field: str) -> Any:
    """Result of the code called ``name``, with what it takes of ``given``, and all ``options``.

    Args:
        field: of the recipe that holds the options, for errors.

    Raises:
        OptionError: as :func:`imported`; or it does not take an option, needs one more, or raises.
    """
    function = imported(name)
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # made in C: it gets everything
        parameters = {"all": inspect.Parameter("all", inspect.Parameter.VAR_KEYWORD)}  # type: ignore[assignment]
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    usable = [n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    arguments = {n: v for n, v in given.items() if takes_all or n in usable} | dict(options)
    unknown = [n for n in options if not takes_all and n not in usable]
    if unknown:
        raise OptionError(
            f"{name}: takes no {', '.join(unknown)}, which {field} gives; it takes {', '.join(usable)}"
        )
    missing = [n for n in usable if n not in arguments and parameters[n].default is inspect.Parameter.empty]
    if missing:
        raise OptionError(
            f"{name}: needs {', '.join(missing)}; give it in {field} (given are {', '.join(given)})"
        )
    try:
        return function(**arguments)
    except (LavaBsnnError, MemoryError):
        raise
    except Exception as error:
        raise OptionError(f"{name}: raised {told(error)}; mend it") from error


def told(error: BaseException) -> str:
    """Kind and text of an exception in one line, and where in the user's files it was raised."""
    text = " ".join(str(error).split())
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {text}"
    root = Path.cwd()
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(root)]
    ours = Path(__file__).parents[1]
    frames = [f for f in frames if not Path(f.filename).is_relative_to(ours / "lava_bsnn")]
    where = f" ({Path(frames[-1].filename).relative_to(root)}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{where}" if text else f"{type(error).__name__}{where}"


def _not_allowed(refused: list[str]) -> OptionError:
    return OptionError(
        f"recipe: names code that is not imported unasked: {', '.join(refused)}; work in the folder of your "
        "code or, if you trust this code, give --allow-code (in Python allow_code=True)"
    )


def _file_of(module: str) -> Path:
    """File of a module below the working folder; nothing is imported.

    Raises:
        _RefusedError: there is none, or it may not be imported unasked.
    """
    root, parts = Path.cwd(), module.split(".")
    if parts[0] in sys.stdlib_module_names:
        raise _RefusedError(f"{parts[0]} is a module of Python's own; a file of yours needs another name")
    place = root.joinpath(*parts)
    files = [path for path in (place / "__init__.py", place.parent / f"{parts[-1]}.py") if path.is_file()]
    if not files:
        raise _RefusedError(f"{'/'.join(parts)}.py is not below {root}")
    packages = [root.joinpath(*parts[:number], "__init__.py") for number in range(1, len(parts))]
    installed = [Path(sysconfig.get_path(key)).resolve() for key in ("stdlib", "purelib", "platlib")]
    for path in (*(package for package in packages if package.exists()), files[0]):
        real = path.resolve()
        if not real.is_relative_to(root.resolve()):
            raise _RefusedError(f"{path.relative_to(root)} is a link that leads out of {root}")
        if any(real.is_relative_to(folder) for folder in installed):
            raise _RefusedError(f"{path.relative_to(root)} is an installed package's")
        for folder in _folders(path, root) | _folders(real, root.resolve()):
            if (folder / RUN_FILE).exists():
                raise _RefusedError(f"{path.relative_to(root)} lies in {folder}, the folder of a run")
    return files[0]


def _folders(path: Path, root: Path) -> set[Path]:
    """Folders from ``root`` down to that of a file, both included."""
    return {root, *(folder for folder in path.parents if folder.is_relative_to(root))}


def _import(module: str) -> Any:
    """Import a module; one that has to be below the working folder really comes from there."""
    importlib.invalidate_caches()
    if _allowed.get():
        return importlib.import_module(module)
    file, top = _file_of(module), module.partition(".")[0]
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # __main__
        spec = None
    root = Path.cwd()
    places = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or ())]
    expected = {root / top, root / top / "__init__.py", root / f"{top}.py"}
    if not {Path(place).absolute() for place in places if place} & expected:
        other = next((place for place in places if place), "nowhere")
        raise _RefusedError(f"another module {top} is at {other}; a file of yours needs another name")
    found = importlib.import_module(module)
    if Path(str(found.__file__)).resolve() != file.resolve():
        raise _RefusedError(f"{module} comes from {found.__file__}")
    return found


def _check_home(found: Any, module: str) -> None:
    """Refuse a function that a module has only imported, as ``system`` of ``os``."""
    home = getattr(found, "__module__", None)
    if _allowed.get() or home == module:
        return
    try:
        file = _file_of(str(home)).resolve()
    except _RefusedError:
        file = None
    if file is None or Path(str(getattr(sys.modules.get(str(home)), "__file__", ""))).resolve() != file:
        raise _RefusedError(f"it is defined in {home}, not in a file of yours")
