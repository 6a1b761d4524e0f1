"""Files that a shop sends by address: fetched while it waits, judged by their bytes, kept."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from instamsg.sandbox import fetching, media, samples, shelf, uploads

PNG = media.picture("a mug", 64, 48)
FILES = {
    "image": (PNG, "image/png"),
    "video": (samples.video(), "video/mp4"),
    "audio": (samples.voice("hm"), "audio/wav"),
    "file": (samples.document("0001"), "application/pdf"),
}


class Host:
    """A web server with files; `slow` seconds pass before it answers."""

    def __init__(self):
        self.files, self.slow, self.asked = {}, 0, []
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                host.asked.append(self.path)
                time.sleep(host.slow)
                content = host.files.get(self.path)
                if isinstance(content, str):
                    self.send_response(302)
                    self.send_header("Location", content)
                    content = b""
                else:
                    self.send_response(404 if content is None else 200)
                content = content or b""
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *args: None
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def put(self, name, content):
        self.files[f"/{name}"] = content
        return f"http://127.0.0.1:{self.server.server_port}/{name}"


@pytest.fixture
def host():
    host = Host()
    yield host
    host.server.shutdown()
    host.server.server_close()


@pytest.fixture
def attach(open_chat, send):
    """Send one attachment by address; gives the answer."""

    def attach(kind, url, **payload):
        attachment = {"type": kind, "payload": {"url": url, **payload}}
        return send(*open_chat, message={"attachment": attachment})

    return attach


def refusal(answer):
    assert answer.status == 400
    return answer.json["error"]["code"], answer.json["error"]["error_subcode"]


@pytest.mark.parametrize("kind", FILES)
def test_file_is_fetched_and_shown_from_the_cdn(attach, host, call, control, site, sandbox, kind):
    content, content_type = FILES[kind]
    url = host.put("thing", content)
    assert attach(kind, url).status == 200
    control("flush")
    [attachment] = site.events[-1]["message"]["attachments"]
    shown = attachment["payload"]["url"]
    assert attachment["type"] == kind
    assert shown.startswith(f"{sandbox.url}/ig_messaging_cdn/")
    assert host.asked == ["/thing"]
    kept = call("GET", shown.removeprefix(sandbox.url))
    assert (kept.body, kept.headers["Content-Type"]) == (content, content_type)


def test_conversations_api_names_the_cdn_too(attach, host, open_chat, call, sandbox):
    mid = attach("image", host.put("a.png", PNG)).json["message_id"]
    row = call("GET", f"/{mid}?fields=attachments", token=open_chat[0]).json
    assert row["attachments"]["data"][0]["image_data"]["url"].startswith(sandbox.url)


def test_several_pictures_are_fetched_side_by_side(open_chat, send, host, control, site):
    host.slow = 0.2
    urls = [host.put(f"{number}.png", PNG) for number in range(10)]
    pictures = [{"type": "image", "payload": {"url": url}} for url in urls]
    began = time.monotonic()
    assert send(*open_chat, message={"attachments": pictures}).status == 200
    assert time.monotonic() - began < 1.5
    control("flush")
    assert len({row["payload"]["url"] for row in site.events[-1]["message"]["attachments"]}) == 10


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("image", b"<html>Please log in"),
        ("image", FILES["video"][0]),
        ("video", PNG),
        ("audio", b"ID3" + bytes(30)),
        ("audio", b"OggS" + bytes(30)),
        ("file", b"PK\x03\x04" + bytes(30)),
        ("image", b""),
    ],
)
def test_the_bytes_must_be_of_the_declared_type(attach, host, kind, content):
    assert refusal(attach(kind, host.put("thing", content))) == (100, 2018047)


def test_a_picture_may_have_8_mb_and_other_files_25(attach, host):
    png, pdf = PNG[:8], b"%PDF-"
    assert attach("image", host.put("a", png + bytes(8 * 2**20 - 8))).status == 200
    assert refusal(attach("image", host.put("a", png + bytes(8 * 2**20 - 7)))) == (100, 2018109)
    assert attach("file", host.put("a", pdf + bytes(9 * 2**20))).status == 200
    assert refusal(attach("file", host.put("a", pdf + bytes(25 * 2**20)))) == (100, 2018109)


def test_what_cannot_be_fetched_is_refused(attach, host, control):
    missing = host.put("a.png", PNG).replace("a.png", "gone.png")
    assert refusal(attach("image", missing)) == (100, 2018008)
    assert refusal(attach("image", "http://127.0.0.1:1/nobody.png")) == (100, 2018008)
    assert refusal(attach("image", host.put("away", "ftp://127.0.0.1/a.png"))) == (100, 2018008)
    assert refusal(attach("image", host.put("away", "file:///etc/hostname"))) == (100, 2018008)
    assert attach("image", host.put("moved", host.put("a.png", PNG))).status == 200


def test_a_slow_file_is_given_up_and_a_slow_video_has_a_code_of_its_own(attach, host, control):
    host.slow = 1
    control("settings", fetch_timeout=0.1)
    began = time.monotonic()
    assert refusal(attach("video", host.put("v", FILES["video"][0]))) == (100, 2018294)
    assert refusal(attach("image", host.put("i", PNG))) == (100, 2018008)
    assert time.monotonic() - began < 0.9


def test_others_are_answered_while_a_file_is_fetched(attach, host, call, open_chat):
    """The site that sends may have one process: it is asked for the file during its own call."""
    host.slow = 1
    url = host.put("a.png", PNG)
    sending = threading.Thread(target=attach, args=("image", url))
    sending.start()
    while not host.asked:
        time.sleep(0.005)
    began = time.monotonic()
    assert call("GET", "/me", token=open_chat[0]).status == 200
    assert time.monotonic() - began < 0.7
    sending.join()


def test_a_refused_body_is_not_fetched(open_chat, send, host):
    pictures = [{"type": kind, "payload": {"url": host.put("a", PNG)}} for kind in FILES]
    assert refusal(send(*open_chat, message={"attachments": pictures})) == (100, 2534015)
    assert host.asked == []


def test_nothing_is_fetched_when_switched_off(attach, control, site):
    control("settings", fetch_media="off")
    assert attach("image", "https://shop.example/mug.png").status == 200
    control("flush")
    [attachment] = site.events[-1]["message"]["attachments"]
    assert attachment["payload"]["url"] == "https://shop.example/mug.png"


def test_oldest_files_make_room(attach, host, control, site, call, sandbox, monkeypatch):
    monkeypatch.setattr(shelf, "ROOM", 2 * len(PNG))
    url = host.put("a.png", PNG)
    for _ in range(3):
        attach("image", url)
    control("flush")
    shown = [event["message"]["attachments"][0]["payload"]["url"] for event in site.events[1:]]
    answers = [call("GET", each.removeprefix(sandbox.url)).status for each in shown]
    assert answers == [404, 200, 200]


def test_an_upload_stands_for_its_file(open_chat, send, call, host, control, site, connect, say):
    token, igsid = open_chat
    payload = {"url": host.put("a.png", PNG), "is_reusable": True}
    order = {"message": {"attachment": {"type": "image", "payload": payload}}}
    answer = call("POST", "/v25.0/me/message_attachments", token=token, order=order)
    assert answer.status == 200
    by_id = {"attachment": {"type": "image", "payload": answer.json}}
    assert send(token, igsid, message=by_id).status == 200
    assert send(token, igsid, message=by_id).status == 200
    control("flush")
    urls = [event["message"]["attachments"][0]["payload"]["url"] for event in site.events[1:]]
    assert urls[0] == urls[1]
    assert host.asked == ["/a.png"]
    by_id["attachment"]["type"] = "video"
    assert refusal(send(token, igsid, message=by_id)) == (100, 2018047)
    by_id["attachment"]["type"] = "image"
    other = connect("north.bikes"), say(account="north.bikes")["igsid"]
    assert refusal(send(*other, message=by_id)) == (100, 2018074)


def test_an_upload_is_judged_like_a_message(open_chat, call, host, control):
    def upload(kind, url):
        order = {"message": {"attachment": {"type": kind, "payload": {"url": url}}}}
        return call("POST", "/me/message_attachments", token=open_chat[0], order=order)

    assert refusal(upload("video", host.put("a", PNG))) == (100, 2018047)
    assert refusal(upload("image", host.put("a", PNG) + "-gone")) == (100, 2018008)
    assert refusal(upload("image", "not a url")) == (100, 2018008)
    assert refusal(upload("hologram", host.put("a", PNG))) == (100, 2534015)
    control("faults", endpoint="message_attachments", error={"code": 2, "http": 503})
    assert upload("image", host.put("a", PNG)).status == 503


def test_oldest_uploads_are_forgotten(open_chat, call, send, host, monkeypatch):
    monkeypatch.setattr(uploads, "KEPT_UPLOADS", 1)
    payload = {"url": host.put("a.png", PNG)}
    order = {"message": {"attachment": {"type": "image", "payload": payload}}}
    ids = [
        call("POST", "/me/message_attachments", token=open_chat[0], order=order).json
        for _ in range(2)
    ]
    answers = [
        send(*open_chat, message={"attachment": {"type": "image", "payload": each}}) for each in ids
    ]
    assert [answer.status for answer in answers] == [400, 200]


def test_phone_shows_what_the_shop_sent(attach, host, call):
    for kind, (content, _) in FILES.items():
        attach(kind, host.put(kind, content))
    page = call("GET", "/phone/chat?account=luna.ceramics&customer=mila.tests").body.decode()
    assert '<img src="/ig_messaging_cdn/?asset_id=17993' in page
    assert '<video controls preload="metadata" src="/ig_messaging_cdn/' in page
    assert '<audio controls preload="metadata" src="/ig_messaging_cdn/' in page
    assert "A document" in page
    assert urlsplit(host.put("image", PNG)).netloc not in page


def test_every_type_of_the_contract_is_recognised():
    boxed = b"\0\0\0\x18ftyp"
    known = {
        "image": [PNG, b"\xff\xd8\xff\xe0" + bytes(9), b"GIF89a" + bytes(9)],
        "video": [
            boxed + b"isom",
            boxed + b"qt  ",
            b"OggS" + bytes(9),
            b"\x1aE\xdf\xa3" + bytes(9),
        ],
        "audio": [boxed + b"M4A ", boxed + b"isom", b"\xff\xf1" + bytes(9), b"RIFF\0\0\0\0WAVE"],
        "file": [b"%PDF-1.7"],
    }
    known["video"].append(b"RIFF\0\0\0\0AVI ")
    for kind, contents in known.items():
        for content in contents:
            assert kind in fetching.recognised(content)[1], (kind, content[:12])
