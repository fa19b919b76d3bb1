"""rspamd as the opinion of another verifier: one worker on loopback, its own directory, ended by its process id."""

import http.client
import json
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

READY_SECONDS = 60.0
STOP_SECONDS = 30.0
PLUGINS = Path("/usr/share/rspamd/plugins")

CONF = """\
lua = "{directory}/rules.lua";
options {{
    pidfile = "{directory}/pid";
    filters = "dkim";
    cache_file = "{directory}/cache";
    history_file = "{directory}/history";
    hs_cache_dir = "{directory}";
    tempdir = "{directory}";
    url_tld = "{directory}/tld";
    control_socket = "{directory}/control mode=0600";
    dns {{ timeout = 2s; sockets = 2; retransmits = 2; nameserver = ["127.0.0.1:{dns}:1"]; }}
    local_addrs = [192.168.0.0/16];
    explicit_modules = [];
    disable_monitoring = true;
    history_rows = 1;
}}
logging {{ type = "console"; level = "warning"; }}
worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; task_timeout = 20s; }}
actions {{ reject = 10000; add_header = 9000; greylist = 8999; unknown_weight = 1.0; grow_factor = 1.0; }}
dkim {{ trusted_only = false; }}
arc {{ sign_inbound = false; sign_local = false; sign_authenticated = false; }}
modules {{ path = "{plugins}/"; }}
{disabled}
"""


def missing_rspamd() -> str:
    """Why rspamd cannot be asked here; empty: it can."""
    return "" if shutil.which("rspamd", path="/usr/bin:/usr/sbin") else "rspamd is not installed: the package rspamd"


class Rspamd:
    """Context manager. `dns_port`: the name server on loopback that it asks."""

    def __init__(self, dns_port: int) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="rspamd-test-")
        directory = Path(self._temporary.name)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        others = [path.stem for path in sorted(PLUGINS.glob("*.lua")) if path.stem != "arc"]
        # Without its rules and with a short list of suffixes: it would take many seconds to compile them.
        (directory / "tld").write_text("example\ncom\n")
        (directory / "rules.lua").write_text('config = {}\nrspamd_maps = {}\nrequire "global_functions"()\n')
        self._conf = directory / "rspamd.conf"
        self._conf.write_text(
            CONF.format(
                directory=directory,
                dns=dns_port,
                port=self.port,
                plugins=PLUGINS,
                disabled="".join(f"{name} {{ enabled = false; }}\n" for name in others),
            )
        )
        self._log = directory / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        program = shutil.which("rspamd", path="/usr/bin:/usr/sbin") or ""
        with self._log.open("wb") as log:
            command = [program, "-f", "-i", "-c", str(self._conf)]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + READY_SECONDS
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log_text = self._log.read_text("utf-8", "replace")
                self.__exit__()
                raise RuntimeError(f"rspamd does not start; its log:\n{log_text}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._temporary.cleanup()

    def symbols(self, message: bytes, *, client_ip: str) -> dict[str, Any]:
        """What it finds, by name: `ARC_ALLOW` for a chain that passes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("POST", "/checkv2", body=message, headers={"IP": client_ip})
        answer = json.loads(connection.getresponse().read())
        connection.close()
        assert "symbols" in answer, answer
        return answer["symbols"]

    def _accepts(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
