"""The guard around addresses that owners choose: resolved, refused when private, pinned."""

import datetime
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from messaging import outbound_http
from messaging.outbound_http import Forbidden, Line

PUBLIC = "93.184.215.14"


@pytest.fixture
def names(monkeypatch):
    """What names resolve to; a list is given one after the other."""
    found, real = {}, socket.getaddrinfo

    def resolve(host, port, *args, **kwargs):
        if host not in found:
            return real(host, port, *args, **kwargs)
        addresses = found[host].pop(0) if isinstance(found[host][0], list) else found[host]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return found


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0",  # noqa: S104  (to be refused)
        "100.64.0.1", "224.0.0.1", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::7f00:1",
        "64:ff9b::a00:1", "2002:a00:1::", "fe80::1", "fd00::1", "ff02::1", "::",
    ],
)  # fmt: skip
def test_no_private_address_is_a_target(names, address):
    names["crm.example"] = [address]
    with pytest.raises(Forbidden, match="private network"):
        Line("https://crm.example/hook", allow_private=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://crm.example/", "https://user:pass@crm.example/",
        "https://crm.example\\@10.0.0.1/", "ftp://crm.example/", "https:///x", "file:///etc/passwd",
        "https://[::1/", "https://crm.example:99999/", "crm.example", "",
    ],
)  # fmt: skip
def test_nor_is_what_is_no_plain_https_address(url):
    with pytest.raises(Forbidden):
        outbound_http.check_target(url, allow_private=False)


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1/", "https://2130706433/", "https://0x7f.1/", "https://[::1]/",
            "https://[::ffff:7f00:1]/", "https://localhost/"],
)  # fmt: skip
def test_however_this_machine_is_written_it_is_refused(url):
    with pytest.raises((Forbidden, requests.ConnectionError)):
        Line(url, allow_private=False)


def test_a_name_with_one_private_address_among_others_is_refused(names):
    names["crm.example"] = [PUBLIC, "10.0.0.1"]
    with pytest.raises(Forbidden):
        Line("https://crm.example/", allow_private=False)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "fd00::1", "::1", "100.64.0.1"])
def test_private_addresses_are_targets_where_the_operator_allows_them(names, address):
    names["crm.example"] = [address]
    Line("http://crm.example/", allow_private=True).close()


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "::", "64:ff9b::a9fe:1"],
)
def test_but_never_where_clouds_keep_their_secrets(names, address):
    names["crm.example"] = [address]
    with pytest.raises(Forbidden):
        Line("http://crm.example/", allow_private=True)


def test_the_address_that_was_checked_is_the_one_that_is_asked(names, receiver):
    """A name that resolves to something else a moment later leads nowhere else."""
    port = receiver.server.server_port
    names["crm.example"] = [["127.0.0.1"], ["127.0.0.9"], ["127.0.0.9"]]
    line = Line(f"http://crm.example:{port}/hook", allow_private=True)
    assert line.post(b"{}", {}).status == 200
    assert line.post(b"{}", {}).status == 200
    line.close()
    assert len(names["crm.example"]) == 2  # It was not resolved again.
    assert {got.headers["Host"] for got in receiver.got} == {f"crm.example:{port}"}


class TestTls:
    @pytest.fixture
    def secure(self, tmp_path, monkeypatch):
        """A server with a certificate for crm.example that is trusted here."""
        certificate = tmp_path / "certificate.pem"
        certificate.write_bytes(_certificate("crm.example"))
        named = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        context.sni_callback = lambda sock, name, ctx: named.append(name)
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Plain)
        server.daemon_threads = True
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(certificate))
        yield server.server_port, named
        server.shutdown()
        server.server_close()

    def test_it_speaks_of_the_name_and_not_of_the_address(self, names, secure):
        port, named = secure
        names["crm.example"] = ["127.0.0.1"]
        line = Line(f"https://crm.example:{port}/", allow_private=True)
        assert line.post(b"{}", {}).status == 200
        line.close()
        assert named == ["crm.example"]

    def test_a_certificate_for_another_name_is_refused(self, names, secure):
        port, _ = secure
        names["other.example"] = ["127.0.0.1"]
        line = Line(f"https://other.example:{port}/", allow_private=True)
        with pytest.raises(requests.exceptions.SSLError):
            line.post(b"{}", {})
        line.close()

    def test_a_handshake_that_never_ends_is_cut(self, names, monkeypatch):
        monkeypatch.setattr(outbound_http, "TIMEOUT", 0.4)
        with socket.create_server(("127.0.0.1", 0)) as mute:
            names["crm.example"] = ["127.0.0.1"]
            url = f"https://crm.example:{mute.getsockname()[1]}/"
            line = Line(url, allow_private=True)
            with pytest.raises(requests.Timeout):
                line.post(b"{}", {})
            line.close()


class _Plain(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


def _certificate(name: str) -> bytes:
    """A key and a certificate that signs itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private + made.public_bytes(serialization.Encoding.PEM)
