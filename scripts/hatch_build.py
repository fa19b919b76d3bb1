"""Build hook of the wheel: compiles the mail path, and adds the manual pages and the completion scripts.

DMARCMILTER_COMPILE=required   fail where it cannot be compiled; without it, such a wheel is pure Python, with a warning
DMARCMILTER_COMPILE=no         do not compile
"""

import os
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent))

import compiling
import shareddata

CHOICE = os.environ.get("DMARCMILTER_COMPILE", "")


class WheelHook(BuildHookInterface):
    def dependencies(self) -> list[str]:
        """What compiling needs: mypyc reads the types of the packages that the program uses."""
        if CHOICE == "no" or not compiling.compiler_works():
            return []
        with (compiling.ROOT / "pyproject.toml").open("rb") as file:
            return [*compiling.REQUIRED, *tomllib.load(file)["project"]["dependencies"]]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        self._folder = Path(tempfile.mkdtemp())
        files = shareddata.write(self._folder)
        build_data["shared_data"].update({str(path): target for target, path in files.items()})
        if CHOICE != "no":
            self._compile(build_data)

    def finalize(self, version: str, _build_data: dict[str, Any], _artifact_path: str) -> None:
        if version != "editable":
            shutil.rmtree(self._folder)

    def _compile(self, build_data: dict[str, Any]) -> None:
        target = self._folder / "compiled"
        try:
            made = compiling.compile_into(target)
        except compiling.CompilationError as error:
            if CHOICE == "required":
                raise
            self.app.display_warning(f"not compiled, the wheel is pure Python: {error}")
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["force_include"].update({str(file): str(file.relative_to(target)) for file in made})
