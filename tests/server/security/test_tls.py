"""Providers prove who they are, or are not called: a server of ours with certificates of our own making plays one."""

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine.core.errors import UpstreamError
from engine.server.upstream import Call, Upstream, trust
from engine.settings import SettingsError, from_environment
from tests.server.security.acting import run

x509 = pytest.importorskip("cryptography.x509")
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from cryptography.x509.oid import NameOID  # noqa: E402


def certificate(folder: Path, host: str = "127.0.0.1", days: int = 1) -> tuple[str, str]:
    """A self-signed one and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.IPAddress(ipaddress.ip_address(host)) if host[0].isdigit() else x509.DNSName(host)]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(names), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    shape, unlocked = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, shape, unlocked))
    return str(folder / "cert.pem"), str(folder / "key.pem")


@asynccontextmanager
async def provider(
    certificate: tuple[str, str],
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Where it is, and what it was told: nothing, as long as it is not trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    heard: list[bytes] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)  # handshakes that fail are what is asked for
    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", heard
    finally:
        server.close()


async def called(url: str, ca_file: str = "") -> int:
    upstream = Upstream(trust(ca_file))
    try:
        response = await upstream.open(Call(url, {"x-api-key": "sk-secret"}, b"{}", 5.0, 5.0))
        await response.close()
        return response.status
    finally:
        await upstream.close()


def test_a_provider_that_nobody_vouches_for_is_not_called(tmp_path: Path) -> None:
    async def play() -> None:
        async with provider(certificate(tmp_path)) as (url, heard):
            with pytest.raises(UpstreamError) as caught:
                await called(url)
            assert caught.value.fault.kind == "connection"
            assert "certificate" in caught.value.fault.message
            assert "WEAVE_CA_FILE" in caught.value.fault.message
            assert heard == []

    run(play())


def test_a_private_authority_is_trusted_where_the_operator_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        made = certificate(tmp_path)
        async with provider(made) as (url, heard):
            assert await called(url, ca_file=made[0]) == 200
            monkeypatch.setenv("SSL_CERT_FILE", made[0])
            assert await called(url) == 200
            assert len(heard) == 2

    run(play())


@pytest.mark.parametrize(
    ("host", "days"), [("other.example", 1), ("127.0.0.1", -1)], ids=["of another", "expired"]
)
def test_a_certificate_that_does_not_hold_is_none(tmp_path: Path, host: str, days: int) -> None:
    async def play() -> None:
        made = certificate(tmp_path, host, days)
        async with provider(made) as (url, heard):
            with pytest.raises(UpstreamError):
                await called(url, ca_file=made[0])
            assert heard == []

    run(play())


def test_nothing_older_than_tls_1_2_is_spoken() -> None:
    assert trust().minimum_version == ssl.TLSVersion.TLSv1_2
    assert trust().verify_mode == ssl.CERT_REQUIRED
    assert trust().check_hostname


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_a_file_of_certificates_that_is_none_stops_the_start(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SettingsError, match="WEAVE_CA_FILE"):
        trust(from_environment({"WEAVE_CA_FILE": str(file)}).ca_file)
