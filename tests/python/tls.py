"""A TLS server on a free port, whose handshakes OpenSSL does. It says nothing more.

    tls.py CERTIFICATE KEY

Both are files in DER; what OpenSSL reads is written beside them.
"""

import base64
import pathlib
import socket
import ssl
import sys
import threading


def pem(path, label):
    body = base64.encodebytes(pathlib.Path(path).read_bytes()).decode()
    written = pathlib.Path(path).with_suffix(".pem")
    written.write_text(f"-----BEGIN {label}-----\n{body}-----END {label}-----\n")
    return written


def shake(context, plain):
    try:
        with context.wrap_socket(plain, server_side=True) as tls:
            while tls.recv(4096):
                pass
    except OSError:
        pass  # whoever leaves early is the caller's business


def main(certificate, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem(certificate, "CERTIFICATE"), pem(key, "PRIVATE KEY"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print("port", listener.getsockname()[1], flush=True)
        while True:
            plain, _ = listener.accept()
            threading.Thread(target=shake, args=(context, plain), daemon=True).start()


main(sys.argv[1], sys.argv[2])
