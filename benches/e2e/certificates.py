"""A private authority and certificates that it signed, made by `openssl` for one run."""
from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from processes import Failed

DAYS = 90
PATIENCE_S = 60


class Authority:
    """Its own certificate is `ca.pem` in the directory; `issue` makes `NAME.pem` and `NAME.key` there."""

    def __init__(self, directory: Path):
        if not shutil.which("openssl"):
            raise Failed("certificates are made by openssl: install it")
        self.directory, self.file = directory, directory / "ca.pem"
        self._run("req", "-x509", *self._new("ca"), "-out", self.file, "-days", 2 * DAYS, "-subj", "/CN=Bench CA",
                  "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def issue(self, name: str, hosts: list[str], kind: str = "EC") -> None:
        """For these names. `kind` is EC (P-256) or RSA (2,048 bits); the chain is in the file."""
        request, leaf = self.directory / f"{name}.csr", self.directory / f"{name}.leaf"
        extensions = self.directory / f"{name}.ext"
        names = ",".join(f"DNS:{host}" for host in hosts)
        extensions.write_text(f"subjectAltName={names}\nbasicConstraints=critical,CA:FALSE\n"
                              "keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n"
                              "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
                              "crlDistributionPoints=URI:http://crl.bench.test/ca.crl\n")
        self._run("req", *self._new(name, kind), "-out", request, "-subj", f"/CN={hosts[0]}")
        self._run("x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self.directory / "ca.key",
                  "-CAcreateserial", "-out", leaf, "-days", DAYS, "-sha256", "-extfile", extensions)
        (self.directory / f"{name}.pem").write_text(leaf.read_text() + self.file.read_text())

    def _new(self, name: str, kind: str = "EC") -> list:
        sort = ["rsa:2048"] if kind == "RSA" else ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        return ["-newkey", *sort, "-nodes", "-keyout", self.directory / f"{name}.key"]

    @staticmethod
    def _run(*arguments: object) -> None:
        done = subprocess.run(["openssl", *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=PATIENCE_S, check=False)
        if done.returncode:
            raise Failed(f"openssl {arguments[0]}: {done.stdout.decode('utf-8', 'replace').strip()[-400:]}")
