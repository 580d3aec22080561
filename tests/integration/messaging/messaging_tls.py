"""TLS in front of a real server, with certificates of an authority that the test makes."""

import asyncio
import contextlib
import datetime as dt
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

#: How a client of PostgreSQL asks for TLS, before anything else.
_SSL_REQUEST = bytes.fromhex("0000000804d2162f")


class Authority:
    """Signs certificates; ``cafile`` is what clients believe."""

    def __init__(self, directory: Path, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._directory = directory
        self.cafile = directory / f"{name}.pem"
        own = self._certificate(self._name, self._key, x509.BasicConstraints(ca=True, path_length=None))
        self.cafile.write_bytes(own)

    def server(self, host: str) -> ssl.SSLContext:
        """Return what a server of that name shows."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        chain = self._directory / f"{self.cafile.stem}-{host}.pem"
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        private = key.private_bytes(encoding, form, serialization.NoEncryption())
        chain.write_bytes(private + self._certificate(subject, key, names))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(chain)
        return context

    def _certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> bytes:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(extension, critical=True)
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@asynccontextmanager
async def tls_in_front(url: str, shown: ssl.SSLContext) -> AsyncIterator[str]:
    """Take TLS alone for the server of a URL, and forward it; yields the URL with its port, at ``localhost``.

    PostgreSQL agrees on TLS inside its own protocol, the others begin with it.
    """
    parts = urlsplit(url)
    is_postgres = parts.scheme == "postgresql"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if is_postgres:
                if await reader.readexactly(len(_SSL_REQUEST)) != _SSL_REQUEST:
                    writer.close()  # who speaks in the clear is not answered
                    return
                writer.write(b"S")
                await writer.start_tls(shown)
            server = await asyncio.open_connection(parts.hostname, parts.port)
            await asyncio.gather(_forward(reader, server[1]), _forward(server[0], writer))

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=None if is_postgres else shown)
    port = listening.sockets[0].getsockname()[1]
    credentials, at, _ = parts.netloc.rpartition("@")
    scheme = parts.scheme if is_postgres else f"{parts.scheme}s"
    yield urlunsplit(parts._replace(scheme=scheme, netloc=f"{credentials}{at}localhost:{port}"))
    listening.close()


async def _forward(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
        sink.close()
