"""Commands run in this process, with a conf file that keeps them off this machine's own files."""

from click.testing import CliRunner

from dmarcmilter.cli import main


def write_conf(tmp_path, port, more=""):
    (tmp_path / "list.dat").write_text("com\nexample\n", encoding="utf-8")
    path = tmp_path / "conf.toml"
    path.write_text(
        f'[dns]\nnameservers = ["127.0.0.1:{port}"]\ntimeout = 2.0\n[dmarc]\npsl_file = "{tmp_path}/list.dat"\n'
        f'[history]\njournal = "{tmp_path}/journal"\n[policy]\nsampling_key = "{tmp_path}/key"\n{more}',
        encoding="utf-8",
    )
    return str(path)


def run(*arguments, stdin=None):
    return CliRunner().invoke(main, arguments, input=stdin, catch_exceptions=False)
