"""Which module may import which, which library has which home, and that the list of modules is complete."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import dmarcmilter

PACKAGE = Path(dmarcmilter.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

CORE = re.compile(
    r"(message|lookup|evidence|outcome|authres|authresreader|actions|mtaactions|marking|replies|policy|rules|sampling|messageid|replay)\.py"
    r"|(case|entries|speaking)\.py|explanation/.*|dmarc/.*|reports/aggregate\.py"
)
SHELL = {"session", "callbacks", "service", "worker", "daemon", "listener", "notify", "resolver", "cli", "config",
         "settings", "site", "history", "recipients", "deferral", "demo", "metrics", "health", "examination",
         "pipeline", "advice", "checks", "opendmarc", "privileges", "exposure"}  # fmt: skip
IMPURE = {"logging", "time", "random", "secrets", "socket", "os", "subprocess", "threading", "asyncio"}

# Each third-party name has one home.
HOMES = {
    "Milter": r"(session|callbacks|failsafe|negotiation)\.py",
    "milter": r"(session|callbacks|execution|worker|negotiation)\.py",
    "dns": r"resolver/.*|demo/(nameserver|zone)\.py",
    "cryptography": r"reports/signing\.py|checks/keyrecord\.py|arcseal/key\.py|demo/samples\.py",
    "spf": r"checks/spf\.py",
    "dkim": r"demo/samples\.py|arcseal/arcset\.py",
    "authheaders": r"demo/samples\.py",
    "idna": r"dmarc/domain\.py",
    "publicsuffix2": r"dmarc/suffixes\.py",
    "publicsuffixlist": r"dmarc/suffixes\.py",
    "msgspec": r"config\.py|cli/conf\.py|history/journal\.py",
    "sqlalchemy": r"history/(store|engine|schema|writer)\.py|recipients/database\.py",
    "click": r"cli/.*",
    "prometheus_client": r"metrics/exposition\.py",
    "rich": r"cli/.*|demo/show\.py",
}


@cache
def tree_of(module):
    return ast.parse((PACKAGE / module).read_text(encoding="utf-8"))


def imports_of(module):
    """Absolute dotted names that a module imports; `from a import b` counts as a.b."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_of(module):
    """First names below dmarcmilter that a module imports."""
    return {name.split(".")[1] for name in imports_of(module) if name.startswith("dmarcmilter.")}


@pytest.mark.parametrize("module", [name for name in MODULES if CORE.fullmatch(name)])
def test_the_core_is_pure(module):
    tops = {name.split(".")[0] for name in imports_of(module)}
    assert not tops & IMPURE
    assert not rooms_of(module) & SHELL


def test_there_is_a_core():
    assert sum(bool(CORE.fullmatch(name)) for name in MODULES) > 20


@pytest.mark.parametrize("library", HOMES)
def test_each_library_has_one_home(library):
    users = [module for module in MODULES if any(name.split(".")[0] == library for name in imports_of(module))]
    assert users, f"{library} is not used: drop it"
    assert not [module for module in users if not re.fullmatch(HOMES[library], module)]


def test_every_third_party_import_has_a_home():
    import sys

    known = set(HOMES) | set(sys.stdlib_module_names) | {"dmarcmilter"}
    strangers = {name.split(".")[0] for module in MODULES for name in imports_of(module)} - known
    assert not strangers


def test_checks_do_not_import_each_other():
    for name in ("spf", "dkim", "arc"):
        others = {"spf", "dkim", "arc"} - {name}
        imported = {found.removeprefix("dmarcmilter.checks.") for found in imports_of(f"checks/{name}.py")}
        assert not imported & others


@pytest.mark.parametrize(
    ("room", "users"),
    [
        ("session", {"callbacks.py"}),
        ("callbacks", {"worker.py"}),
        ("worker", {"daemon.py"}),
        ("daemon", {"cli/__init__.py", "cli/demo.py"}),
        ("demo", {"cli/demo.py"}),
    ],
)
def test_only_the_next_door_opens(room, users):
    found = {module for module in MODULES if room in rooms_of(module) and not module.startswith(f"{room}/")}
    assert found == users


def test_the_map_is_true():
    """Every room stands in the package's docstring, and nothing else does."""
    listed = set(re.findall(r"^ {4}(\w+) ", dmarcmilter.__doc__, re.MULTILINE))
    rooms = {name.split("/")[0].removesuffix(".py") for name in MODULES} - {"__init__", "__main__"}
    assert listed == rooms


def test_each_module_has_a_test():
    """tests/test_<module>.py, one for one."""
    missing = [
        module
        for module in MODULES
        if not module.endswith(("__init__.py", "__main__.py"))
        and not module.startswith(("cli/", "demo/"))
        and not any((ROOT / "tests" / name).exists() for name in names_of_test(module))
    ]
    assert not [name for name in missing if name not in TESTED_ELSEWHERE]


def names_of_test(module):
    """A module of a folder may carry the folder's name in its test's."""
    flat = module.removesuffix(".py").replace("/", "_")
    return f"test_{flat}.py", f"test_{Path(module).stem}.py"


TESTED_ELSEWHERE = {
    **{f"explanation/{name}.py": "test_explanation.py" for name in ("explain", "facts", "found", "decided")},
    **{f"explanation/{name}.py": "test_explanation.py, by rows" for name in ("sender", "administrator")},
    "history/replayed.py": "test_replay.py",
    "advice/finding.py": "values only",
    "advice/choices.py": "test_advice.py",
    "advice/exceptions.py": "test_advice.py",
    "advice/networks.py": "test_advice.py",
    "advice/scene.py": "test_advice_accounts.py",
    "advice/mta.py": "test_advice_postfix.py",
    "advice/nameservers.py": "test_advice_live.py",
    "advice/running.py": "test_advice_live.py",
    "advice/reach.py": "test_advice_services.py",
    "opendmarc/keys.py": "test_opendmarc_convert.py",
    "opendmarc/conffile.py": "test_opendmarc_convert.py",
    "opendmarc/converters.py": "test_opendmarc_convert.py",
    "opendmarc/hosts.py": "test_opendmarc_convert.py",
    "opendmarc/historyfile.py": "test_opendmarc_importer.py",
    "opendmarc/historyrecord.py": "test_opendmarc_importer.py",
    "execution.py": "test_quarantine.py",
    "mtaactions.py": "values only",
    "settings/wording.py": "test_config.py",
    "arcseal/arcset.py": "test_arcseal.py",
    "arcseal/key.py": "test_arcseal.py",
    "arcseal/sealing.py": "test_arcseal.py",
    "history/files.py": "test_ingest.py",
    "history/writer.py": "test_ingest.py",
    "history/engine.py": "test_store.py",
    "history/reader.py": "test_store.py",
    "history/survey.py": "test_stats.py",
    "history/pagestyle.py": "test_page.py",
    "lookup.py": "values only",
    "evidence.py": "values only",
    "rules.py": "values only",
    "message.py": "values only",
    "settings/mailpath.py": "test_config.py",
    "settings/afterwards.py": "test_config.py",
    "settings/validation.py": "test_config.py",
    "settings/typecheck.py": "test_conf_errors.py",
    "settings/toml_errors.py": "test_conf_errors.py",
    "entries.py": "test_policy.py, test_policy_properties.py",
    "speaking.py": "test_policy.py, test_policy_properties.py",
    "keyfile.py": "test_site.py",
    "service.py": "test_session.py",
    "callbacks.py": "test_session.py",
    "negotiation.py": "test_session.py",
    "worker.py": "test_daemon.py",
    "notify.py": "test_daemon.py",
    "children.py": "test_daemon.py",
    "lifesigns.py": "test_daemon_watched.py",
    "exporting.py": "test_metrics_daemon.py",
    "metrics/families.py": "test_metrics_exposition.py",
    "metrics/exporter.py": "test_metrics_daemon.py",
    "metrics/outside.py": "test_history_progress.py",
    "health/asking.py": "test_health_checks.py",
    "health/finding.py": "test_health_checks.py",
    "health/milterprobe.py": "test_health_checks.py",
    "metrics/supervised.py": "test_metrics_daemon.py",
    "resolver/watch.py": "test_metrics_tally.py",
    "examination.py": "test_pipeline.py, test_check_equals_daemon.py",
    "reports/book.py": "test_reports_run.py",
    "reports/days.py": "test_reports_run.py",
    "reports/ledger.py": "test_reports_run.py, test_merging.py",
    "reports/row.py": "test_aggregate.py, test_grouping.py",
    "reports/sending.py": "test_reports_run.py, test_reports_starved.py",
    "reports/verifying.py": "test_reports_starved.py",
    "reports/standing.py": "test_reports_run.py",
    "reports/stored.py": "test_reports_run.py",
}
