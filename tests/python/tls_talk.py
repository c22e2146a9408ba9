"""Clients whose TLS is OpenSSL's, one after the other. What came of each is a line of JSON.

    tls_talk.py PORT WANTED

WANTED is JSON: `name` to ask for (none: no name), `ca` to trust (none: everybody), `cert` and `key` to
show, `lowest` and `highest` version ("1.1", "1.2", "1.3"), `ciphers` up to 1.2 as OpenSSL names them,
`alpn` to offer, `say` to send, and `times`, how many connections, each of which offers the session of
the one before. A line has `error`, or `version`, `cipher`, `alpn`, `reused`, `certificate` in
hexadecimal, `heard` until the end, and `clean`: whether that was said by TLS.
"""

import json
import socket
import ssl
import sys
import warnings

VERSIONS = {"1.1": ssl.TLSVersion.TLSv1_1, "1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def context(wanted):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED if "ca" in wanted else ssl.CERT_NONE
    if "ca" in wanted:
        made.load_verify_locations(wanted["ca"])
        made.check_hostname = "name" in wanted
    if "cert" in wanted:
        made.load_cert_chain(wanted["cert"], wanted["key"])
    if "ciphers" in wanted:
        made.set_ciphers(wanted["ciphers"])
    if "alpn" in wanted:
        made.set_alpn_protocols(wanted["alpn"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old versions are asked for on purpose
        made.minimum_version = VERSIONS[wanted.get("lowest", "1.2")]
        made.maximum_version = VERSIONS[wanted.get("highest", "1.3")]
    return made


def read_out(tls):
    heard = b""
    try:
        while part := tls.recv(65536):
            heard += part
    except (ssl.SSLEOFError, ConnectionError):
        return heard, False
    return heard, True


def talk(port, made, wanted, session):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        name = wanted.get("name")
        tls = made.wrap_socket(
            plain, server_hostname=name, session=session, suppress_ragged_eofs=False
        )
        with tls:
            tls.sendall(wanted.get("say", "").encode())
            heard, clean = read_out(tls)
            came = {
                "version": tls.version(),
                "cipher": tls.cipher()[0],
                "alpn": tls.selected_alpn_protocol(),
                "reused": tls.session_reused,
                "certificate": tls.getpeercert(binary_form=True).hex(),
                "heard": heard.decode(errors="replace"),
                "clean": clean,
            }
            return came, tls.session


def main(port, wanted):
    made, session = context(wanted), None
    for _ in range(wanted.get("times", 1)):
        try:
            came, session = talk(int(port), made, wanted, session)
        except (ssl.SSLError, ConnectionError) as error:
            came = {"error": str(error)}
        print(json.dumps(came))


main(sys.argv[1], json.loads(sys.argv[2]))
