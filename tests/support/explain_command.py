"""The commands explain and replay, run in this process."""

import json
from pathlib import Path

from click.testing import CliRunner

from dmarcmilter.cli import main

WHOLE = ["--since", "2026-12-01", "--until", "2027-03-01"]


def write_conf(tmp_path, more="", name="c.toml"):
    (tmp_path / "list.dat").write_text("com\nexample\n", encoding="utf-8")
    path = tmp_path / name
    path.write_text(
        f'{more}\n[dmarc]\npsl_file = "{tmp_path}/list.dat"\n[history]\njournal = "{tmp_path}/journal"\n'
        f'database = "sqlite:///{tmp_path}/h.db"\n[policy]\nsampling_key = "{tmp_path}/key"\n',
        encoding="utf-8",
    )
    return str(path)


def run(*arguments, **environment):
    environment = {"LC_ALL": "C.UTF-8"} | environment
    return CliRunner().invoke(main, arguments, catch_exceptions=False, env=environment)


def explain(conf, *arguments, **environment):
    return run("explain", "--config", conf, *arguments, **environment)


def matches(result):
    return json.loads(result.stdout)["matches"]


def replay(tmp_path, policy, *arguments):
    new = write_conf(tmp_path, name="new.toml")
    with Path(new).open("a", encoding="utf-8") as file:  # [policy] is its last section
        file.write(f"{policy}\n")
    return run("replay", "--config", new, *WHOLE, *arguments)
