"""Compiling the mail path with mypyc: which modules, what must hold for them, and the build.

Used by the wheel's build hook (scripts/hatch_build.py) and by scripts/compile. The compiled modules stand beside their
sources, and Python prefers them; without them the same sources run interpreted.
"""

import ast
import hashlib
import os
import platform
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "dmarcmilter"
GROUP = PACKAGE
"""All modules are one group, in the shared library GROUP__mypyc: calls between them are calls in C."""
PACKAGES = ("auth", "dmarc", "dns", "mail", "milter", "policy", "reasons", "response")
"""Packages whose modules are compiled; not their subpackages (`policy.recipients` waits for files and databases)."""
MODULES = ("metrics/board.py", "metrics/worker_metrics.py", "outcome.py", "pipeline.py")
"""Further modules that a message passes through."""
INTERPRETED = {
    "auth/spf.py": "its evaluation derives from a class of pyspf",
    "dns/lookup.py": "a class of it derives from str",
    "milter/turn_scheduler.py": "breaks out of a with block within a loop, which mypyc cannot do",
    "milter/worker_context.py": "only holds what the sessions of a worker share",
    "policy/deferral_times.py": "reads and writes files",
    "reasons/code.py": "only an enumeration",
    "reasons/recorded.py": "a class has a keyword argument, which mypyc leaves out",
    "response/arc_set.py": "a class of it derives from a class of dkimpy",
}
"""Modules of these packages that are not compiled, and why."""
OPTIMIZATION = "2"
"""Optimization level of the C compiler. With 3 a message costs no less, and compiling takes longer."""
REQUIRED = ("mypy==2.4.1", "setuptools")
"""Packages that the build needs besides those of the program, whose types mypyc reads."""


class CompilationError(Exception):
    """The modules cannot be compiled; the text says why."""


def choice() -> str:
    """The value of DMARCMILTER_COMPILE: auto (default), required or no; SystemExit with another."""
    word = os.environ.get("DMARCMILTER_COMPILE") or "auto"
    if word not in {"auto", "required", "no"}:
        sys.exit(f"DMARCMILTER_COMPILE={word}: must be auto, required or no")
    return word


def modules() -> list[Path]:
    """The modules to compile, relative to the root of the project."""
    package = ROOT / PACKAGE
    files = [file for name in PACKAGES for file in (package / name).glob("*.py") if file.name != "__init__.py"]
    files += [package / name for name in MODULES]
    left_out = {package / name for name in INTERPRETED}
    return sorted(file.relative_to(ROOT) for file in files if file not in left_out)


def digest() -> str:
    """Digest of everything that the result depends on; mypyc reads the types of all sources."""
    total = hashlib.sha256(f"{sys.version} {platform.platform()} {REQUIRED}".encode())
    for file in [Path(__file__), ROOT / "pyproject.toml", *sorted((ROOT / PACKAGE).rglob("*.py"))]:
        total.update(file.read_bytes())
    return total.hexdigest()


def compile_into(target: Path) -> list[Path]:
    """Compile the modules, and return the files made below `target`. CompilationError when that is not possible."""
    problems = [problem for module in modules() for problem in _unsupported(module)]
    if problems:
        raise CompilationError("\n".join(problems))
    check_compiler()
    try:
        from mypyc.build import mypycify  # noqa: PLC0415  needed by a build that compiles, and there only
        from setuptools import Distribution  # noqa: PLC0415
        from setuptools.command.build_ext import build_ext  # noqa: PLC0415
        from setuptools.errors import BaseError, CompileError, LinkError  # noqa: PLC0415
    except ImportError as error:
        raise CompilationError(f"{error.name} is not installed in {sys.prefix} (extra `compile`)") from error
    with chdir(ROOT), tempfile.TemporaryDirectory() as work:
        names = [str(module) for module in modules()]
        options = ["--config-file=pyproject.toml", f"--cache-dir={os.devnull}", *names]
        told = StringIO()
        try:
            with redirect_stdout(told):  # mypyc notes each generator expression that becomes a list
                extensions = mypycify(
                    options, opt_level=OPTIMIZATION, debug_level="0", multi_file=True, group_name=GROUP, target_dir=work
                )
        except SystemExit as error:
            raise CompilationError(f"mypyc does not accept the sources\n{told.getvalue()}") from error
        except OSError as error:
            raise CompilationError(f"mypyc cannot write its files: {error}") from error
        for extension in extensions:
            extension.extra_compile_args.append("-Wno-error")  # another compiler has other warnings
        command = build_ext(Distribution({"name": PACKAGE, "ext_modules": extensions}))
        command.build_lib, command.build_temp = str(target), work
        command.ensure_finalized()
        build_extensions = command.build_extensions

        def in_parallel() -> None:
            command.compiler.compile = _in_parallel(command.compiler.compile)
            build_extensions()

        command.build_extensions = in_parallel
        try:
            command.run()
        except (BaseError, CompileError, LinkError, OSError) as error:
            raise CompilationError(f"the C compiler failed: {error}") from error
    return sorted(file for file in target.rglob("*") if file.is_file())


def _in_parallel(compile_files: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """A replacement for setuptools' `compile`, which compiles one file after another: it uses all processors."""

    def compile_all(sources: Sequence[str], *arguments: Any, **options: Any) -> list[str]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = pool.map(lambda source: compile_files([source], *arguments, **options), sources)
            return [name for names in objects for name in names]

    return compile_all


def _unsupported(module: Path) -> Iterator[str]:
    """Find code that mypyc would compile to something else without a message; yields a sentence for each place."""
    for node in ast.walk(ast.parse((ROOT / module).read_bytes())):
        if isinstance(node, ast.ClassDef) and node.keywords:
            yield f"{module}:{node.lineno}: mypyc would leave out the keyword arguments of class {node.name}"
        if isinstance(node, ast.ClassDef) and "Value" in map(ast.unparse, node.bases):
            for line in node.body:
                if isinstance(line, ast.Assign):
                    yield f"{module}:{line.lineno}: mypyc would make a field of {ast.unparse(line.targets[0])}"
        if isinstance(node, ast.FunctionDef):
            if "cached_property" in map(ast.unparse, node.decorator_list):
                yield f"{module}:{node.lineno}: mypyc would compute {node.name} each time"
            caught: dict[str, str] = {}
            for handler in ast.walk(node):
                if isinstance(handler, ast.ExceptHandler) and handler.name and handler.type:
                    kind = ast.unparse(handler.type)
                    if caught.setdefault(handler.name, kind) != kind:
                        yield f"{module}:{handler.lineno}: for mypyc, {handler.name} is a {caught[handler.name]}"


def check_compiler() -> None:
    """Let the C compiler read Python's header files; CompilationError when either is missing or does not work."""
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not header.exists():
        raise CompilationError(f"{header} is missing: install the header files of this Python (python3-dev)")
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    command = [*compiler, "-fsyntax-only", "-I", str(header.parent), "-x", "c", "-"]
    try:
        done = subprocess.run(command, input="#include <Python.h>\n", capture_output=True, text=True, check=False)  # noqa: S603
    except OSError as error:
        raise CompilationError(f"there is no C compiler: {compiler[0]}: {error.strerror}") from error
    if done.returncode:
        output = done.stderr.strip() or f"exit status {done.returncode}"
        raise CompilationError(f"the C compiler does not work: {shlex.join(compiler)}: {output}")
