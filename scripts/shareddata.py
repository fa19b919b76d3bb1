"""What an installed package has under share/: manual pages, and completion scripts for bash, zsh and fish.

Used when the wheel is built (scripts/hatch_build.py). The completion scripts are click's; they ask `dmarcmilter` itself
for each completion, so a new command or option needs no new script.
"""

from pathlib import Path

from click import Command
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = "dmarcmilter"
COMPLETIONS: dict[str, type[ShellComplete]] = {
    f"share/bash-completion/completions/{PROGRAM}": BashComplete,
    f"share/zsh/site-functions/_{PROGRAM}": ZshComplete,
    f"share/fish/vendor_completions.d/{PROGRAM}.fish": FishComplete,
}
"""Where each shell looks for them, below the prefix of the installation."""


def completion(kind: type[ShellComplete]) -> str:
    """The completion script for one shell."""
    maker = kind(Command(PROGRAM), {}, PROGRAM, f"_{PROGRAM.upper()}_COMPLETE")
    # Not BashComplete.source(), which asks the bash of this machine for its version.
    lines = ShellComplete.source(maker).strip("\n").splitlines()
    return "\n".join(line.rstrip() for line in lines) + "\n"


def manual_pages() -> dict[str, Path]:
    """Target below the prefix, and the page."""
    return {f"share/man/man{path.suffix[1:]}/{path.name}": path for path in sorted((ROOT / "man").iterdir())}


def write(folder: Path) -> dict[str, Path]:
    """All of it: targets below the prefix, and files. What has to be made is made in `folder`."""
    files = manual_pages()
    for target, kind in COMPLETIONS.items():
        path = folder / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(completion(kind), encoding="utf-8")
        files[target] = path
    return files
