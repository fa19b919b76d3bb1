"""Settings of the units in systemd/."""

import re

from tests.support.paths import PROJECT

UNITS = PROJECT / "systemd"


def setting(unit, name):
    return re.findall(rf"^{name}=(.*)$", (UNITS / unit).read_text(encoding="utf-8"), re.MULTILINE)
