"""TLS between our own two programs: a certificate says who a slave is, and a plain slave is told why it waits."""

from __future__ import annotations

from pathlib import Path

import pytest

from slaveproto.cli import main
from slaveproto.testing.peers import OurBuilds, OurMaster, OurSlave, Runner
from tests.certificates import Authority

pytestmark = pytest.mark.programs

FILE = """
[master]
listen = "127.0.0.1:9989"
tls_cert = "{certificate}"
tls_key = "{certificate}"
tls_client_ca = "{ca}"
[[slave]]
name = "ex"
password = "pw"
certificate = "ex.example.org"
[[builder]]
name = "b"
slaves = ["ex"]
[[builder.step]]
shell = "echo over TLS"
"""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def file(authority: Authority) -> str:
    return FILE.format(certificate=authority.issue("127.0.0.1"), ca=authority.path)


@pytest.mark.parametrize("runner", ["threads", "trio"])
def test_a_build(runner: Runner, authority: Authority, file: str, tmp_path: Path) -> None:
    options = ["--tls-ca", authority.path, "--tls-cert", authority.issue("ex.example.org", common_name="x")]
    with (
        OurBuilds(tmp_path / "master", file) as builds,
        OurSlave(tmp_path / "ex", builds, "ex", runner=runner, more=options),
    ):
        code, done = builds.wait()
    assert (code, done["b"].result) == (0, "success")


def test_slaves_that_may_not_come(authority: Authority, file: str, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "stranger")
    trusting = ["--tls-ca", authority.path]
    slaves = {
        "another": [*trusting, "--tls-cert", authority.issue("another")],
        "unknown": [*trusting, "--tls-cert", stranger.issue("ex.example.org")],
        "nameless": trusting,
        "plain": [],
    }
    with OurMaster(tmp_path / "master", file) as master:
        programs = [OurSlave(tmp_path / name, master, "ex", more=more) for name, more in slaves.items()]
        for program in programs:
            program.start()
        try:
            another, unknown, nameless, plain = programs
            text = "needs the certificate of ex.example.org, and showed that of another"
            another.wait_log(f"refused the login: builtins.PermissionError: ex {text}")
            unknown.wait_log("the other side does not trust our certificate: it does not know who signed it")
            nameless.wait_log("the other side wants a certificate of ours, and we have none (tls_cert)")
            plain.wait_log("does its port expect TLS? (then tls = true)")
            master.wait_log(text)
            master.wait_log("TLS: certificate verify failed: unable to get local issuer certificate")
            master.wait_log("TLS: the other side showed no certificate")
            master.wait_log("no TLS for 3 s: a slave that was not told to speak it? (tls = true)")
        finally:
            for program in programs:
                program.stop()


def test_a_file_that_cannot_be_used_is_told_at_the_start(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "bot"
    assert main(["create-slave", "-q", "--tls-ca", str(tmp_path / "no.pem"), str(folder), "m", "ex", "pw"]) == 0
    assert main(["slave", str(folder)]) == 2
    words = f"slaveproto: {folder}/slaveproto.toml: TLS: {tmp_path}/no.pem: No such file or directory\n"
    assert capfd.readouterr().err == words
