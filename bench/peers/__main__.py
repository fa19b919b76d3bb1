"""Measure the filter beside others, in rounds in which each filter has its turn; as root.

Each run starts a filter anew, warms it up, and delivers the same messages. The order of the filters changes with each
round, so that a busy minute of the machine meets all of them. Nothing leaves the machine, and no service of it is used.
"""

import argparse
import os
import shlex
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import msgspec

from bench.peers import name_server, private_network
from bench.peers.corpus_files import stored
from bench.peers.filters import FILTERS, ROOT, Filter, Setting, own_filter
from bench.peers.load_generator import compiled
from bench.peers.machine import description
from bench.peers.measurement import WARM_UP, Bench, Run, measure
from bench.peers.table import table

CACHE = ROOT / "state" / "bench"
"""For the corpus and the compiled load generator."""
TOOLS = ("knotd", "knotc", "unshare", "ip", "mount", "gcc")


def main() -> None:
    options = _parser().parse_args()
    filters = _filters(options)
    if os.geteuid() != 0:
        sys.exit("The comparison needs root: it makes a network of its own. Run it as root, or with sudo.")
    _check_tools(filters)
    corpus = stored(CACHE, options.seed, options.messages + WARM_UP)
    program = compiled(CACHE)
    private_network.enter("bench.peers", sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="dmarcmilter-bench-") as name:
        folder = Path(name)
        address = name_server.address(options.delay)
        private_network.set_up(folder, address)
        with name_server.NameServer(folder, corpus.zone, options.delay) as server:
            setting = Setting(folder / "filter", CACHE, address, options.workers)
            bench = Bench(program, corpus, corpus.expected(), server, setting)
            _print(_runs(bench, filters, options), options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    names = ", ".join(filter_.name for filter_ in FILTERS)
    parser.add_argument("--peers", help=f"the filters to measure, separated by commas; all by default: {names}")
    parser.add_argument(
        "--command",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="measure another build of dmarcmilter, too, e.g. 'before=../before/.venv/bin/dmarcmilter'; repeatable",
    )
    parser.add_argument("--messages", type=int, default=400, help="messages of a run (400)")
    parser.add_argument("--connections", default="1,8", help="numbers of concurrent connections (1,8)")
    parser.add_argument("--rounds", type=int, default=5, help="times that each filter is measured (5)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="processes of a filter (one for each processor)"
    )
    parser.add_argument("--delay", type=float, default=0, help="milliseconds that each DNS answer takes (0)")
    parser.add_argument("--seed", default="1", help="another seed makes other messages")
    parser.add_argument("--relative-to", metavar="NAME", help="the filter of ratio 1 (rspamd, or the first one)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append each run as a line of JSON")
    return parser


def _filters(options: argparse.Namespace) -> list[Filter]:
    """The chosen filters, then the builds of --command."""
    available = {filter_.name: filter_ for filter_ in FILTERS}
    names = options.peers.split(",") if options.peers else list(available)
    if unknown := [name for name in names if name not in available]:
        sys.exit(f"no such filter: {', '.join(unknown)}; there are {', '.join(available)}")
    filters = [available[name] for name in names]
    for definition in options.command:
        name, is_complete, command = definition.partition("=")
        if not is_complete or not command:
            sys.exit(f"--command {definition}: it must be NAME=COMMAND")
        filters.append(own_filter(name, tuple(shlex.split(command))))
    return filters


def _check_tools(filters: list[Filter]) -> None:
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    missing += [str(file) for filter_ in filters for file in filter_.needs if not file.exists()]
    if missing:
        sys.exit(f"Missing: {', '.join(missing)}. `scripts/bootstrap bench` installs them.")


def _runs(bench: Bench, filters: list[Filter], options: argparse.Namespace) -> list[Run]:
    runs = []
    numbers = [int(number) for number in options.connections.split(",")]
    for round_ in range(options.rounds):
        first = round_ % len(filters)
        for connections in numbers:
            for filter_ in filters[first:] + filters[:first]:
                run = measure(bench, filter_, round_=round_, connections=connections)
                runs.append(run)
                _show_progress(run, options.rounds)
                if options.json:
                    with options.json.open("ab") as file:
                        file.write(msgspec.json.encode(run) + b"\n")
    return runs


def _show_progress(run: Run, rounds: int) -> None:
    sys.stderr.write(
        f"round {run.round + 1}/{rounds}  {run.filter:<20} c={run.connections:<3} {run.cpu_ms:6.2f} ms CPU a message  "
        f"{run.messages_per_second:6.0f} messages/s  others {run.others:3.0f} %\n"
    )


def _print(runs: list[Run], options: argparse.Namespace) -> None:
    names = list(dict.fromkeys(run.filter for run in runs))
    relative_to = options.relative_to or ("rspamd" if "rspamd" in names else names[0])
    others = [run.others for run in runs]
    generator = statistics.median(run.generator_ms for run in runs)
    sys.stdout.write(
        f"\n{description()}\n"
        f"{options.messages} messages a run, rounds: {options.rounds}, DNS answers after {options.delay:g} ms, "
        f"workers: {options.workers}. Medians (least-most); ratios to {relative_to}.\n"
        f"Load generator and name server share the processors; the generator takes {generator:.2f} ms a message.\n"
        f"CPU taken by others meanwhile: median {statistics.median(others):.0f} %, at most {max(others):.0f} %.\n\n"
        f"{table(runs, relative_to)}"
    )


if __name__ == "__main__":
    main()
