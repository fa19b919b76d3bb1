"""Build hook of the wheel: compiles the mail path, and adds the manual pages and the completion scripts.

DMARCMILTER_COMPILE=auto       where it cannot be compiled, make a wheel of pure Python, with a warning that pip hides
DMARCMILTER_COMPILE=required   fail where it cannot be compiled
DMARCMILTER_COMPILE=no         do not compile

The default is auto.
"""

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

CHOICE = compiling.choice()


class WheelHook(BuildHookInterface):
    def dependencies(self) -> list[str]:
        """Packages that compiling needs: mypyc reads the types of those that the program uses."""
        if CHOICE == "no":
            return []
        try:
            compiling.check_compiler()
        except compiling.CompilationError:
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
                self.app.abort(f"DMARCMILTER_COMPILE=required: {error}")
            self.app.display_warning(f"not compiled, the wheel is pure Python: {error}")
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["force_include"].update({str(file): str(file.relative_to(target)) for file in made})
