"""TLS with real Buildbots: our slave at the port of a real master, and a real worker at the port of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from slaveproto.testing.peers import OurBuilds, OurSlave, RealBuilder, RealMaster, RealSlave
from tests.certificates import Authority, sha256_of
from tests.interop.available import require

pytestmark = pytest.mark.peers


def test_our_slave_at_a_real_master(tmp_path: Path) -> None:
    require("new")
    authority = Authority(tmp_path / "ca")
    certificate = authority.issue("localhost", "127.0.0.1")
    options = {
        "threads": ["--tls-ca", authority.path],
        "trio": ["--tls-pin", sha256_of(certificate).hex()],
    }
    slaves = dict.fromkeys((*options, "plain"), "pw")
    builders = [RealBuilder(f"first-{name}", "first", (name,)) for name in slaves]
    with (
        RealMaster("new", tmp_path / "master", builders, slaves=slaves, certificate=Path(certificate)) as master,
        OurSlave(tmp_path / "plain", master, "plain") as plain,
    ):
        for runner in ("threads", "trio"):
            with OurSlave(tmp_path / runner, master, runner, runner=runner, more=options[runner]):
                master.wait_attached(runner)
                assert master.build(f"first-{runner}").result == "success"
        plain.wait_log("does its port expect TLS? (then tls = true)")


BUILD = """
[master]
listen = "127.0.0.1:9989"
tls_cert = "{certificate}"
tls_key = "{certificate}"
[[slave]]
name = "ex"
password = "pw"
[[builder]]
name = "b"
slaves = ["ex"]
[[builder.step]]
shell = "echo over TLS"
"""


def test_a_real_worker_at_our_master(tmp_path: Path) -> None:
    require("new")
    authority = Authority(tmp_path / "ca")
    text = BUILD.format(certificate=authority.issue("localhost", "127.0.0.1"))
    with (
        OurBuilds(tmp_path / "master", text) as builds,
        RealSlave(tmp_path / "ex", builds, "ex", kind="new", trust_roots=tmp_path / "ca"),
    ):
        code, done = builds.wait()
    assert code == 0
    (step,) = done["b"].steps
    assert step.logs["stdio"].endswith("over TLS\n") or "over TLS" in step.logs["stdio"]
