"""A TLS client whose handshake OpenSSL does, and that trusts anybody. Says whom it met.

    tls_client.py PORT NAME PIECE

NAME is what it asks for (-: nothing), PIECE how many bytes it sends at a time (0: all at once). It
prints the certificate in hexadecimal, or "closed" when nobody wants to talk.
"""

import socket
import ssl
import sys


def shake(plain, name, piece):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    while True:
        done = True
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            done = False
        said = outgoing.read()
        step = piece or len(said) or 1
        for at in range(0, len(said), step):
            plain.sendall(said[at : at + step])
        if done:
            return tls.getpeercert(binary_form=True)
        heard = plain.recv(65536)
        if not heard:
            raise ConnectionError("closed")
        incoming.write(heard)


def main(port, name, piece):
    with socket.create_connection(("127.0.0.1", int(port)), timeout=10) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            print(shake(plain, None if name == "-" else name, int(piece)).hex())
        except ConnectionError:
            print("closed")


main(*sys.argv[1:])
