"""The modules of scripts/, which are files and no package."""

import importlib.util

from tests.support.paths import PROJECT


def script(name):
    """The module scripts/NAME.py."""
    spec = importlib.util.spec_from_file_location(name, PROJECT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
