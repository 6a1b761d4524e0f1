import json

import pytest

WHO = {"account": "luna.ceramics", "customer": "mila.tests"}
LUNA = "17841400000000101"


@pytest.fixture
def act(control):
    def act(command, **order):
        return control(command, **WHO, **order)

    return act


@pytest.fixture
def last(control, site):
    """What the site heard last, without its head."""

    def last():
        control("flush")
        head = ("sender", "recipient", "timestamp")
        [(name, value)] = [row for row in site.events[-1].items() if row[0] not in head]
        return name, value

    return last


@pytest.fixture
def read_mid(call, connect):
    token = connect()

    def read_mid(mid, fields="message,reactions,attachments,shares,story,is_unsupported"):
        return call("GET", f"/v25.0/{mid}?fields={fields}", token=token).json

    return read_mid


def test_reaction_is_told_replaced_and_taken_back(act, last, read_mid):
    igsid = act("say", text="Is it there?")["igsid"]
    mid = act("phone-reply", text="Yes")["mid"]
    assert act("react") == {"mid": mid, "igsid": igsid, "heard": True}
    assert last() == (
        "reaction",
        {"mid": mid, "action": "react", "reaction": "love", "emoji": "\u2764\ufe0f"},
    )
    act("react", emoji="😂")
    assert last()[1]["reaction"] == "other"
    [row] = read_mid(mid)["reactions"]["data"]
    assert (row["reaction"], row["users"][0]["username"]) == ("other", "mila.tests")
    act("unreact")
    assert last() == ("reaction", {"mid": mid, "action": "unreact"})
    assert "reactions" not in read_mid(mid)


def test_reaction_of_the_shop_is_read_back_and_makes_no_webhook(
    connect, say, send, read_mid, control, site
):
    said = say()
    react = {"sender_action": "react", "payload": {"message_id": said["mid"], "reaction": "love"}}
    assert send(connect(), said["igsid"], **react).status == 200
    [row] = read_mid(said["mid"])["reactions"]["data"]
    assert row["users"] == [{"username": "luna.ceramics", "id": LUNA}]
    control("flush")
    assert len(site.events) == 1


def test_edit_is_counted_in_words_and_ends_after_five(act, last, read_mid, call):
    mid = act("say", text="one")["mid"]
    for number in range(1, 6):
        act("edit", text=f"edit {number}")
    assert last() == ("message_edit", {"mid": mid, "text": "edit 5", "num_edit": "5"})
    assert read_mid(mid)["message"] == "edit 5"
    order = {**WHO, "text": "once more"}
    answer = call("POST", "/_sandbox/edit", order=order, token="control-me")
    assert (answer.status, answer.json["error"]) == (400, "A message can be edited 5 times.")


def test_unsent_message_is_gone_for_every_reader(act, last, read_mid, call, connect):
    act("say", text="Stays")
    mid = act("say", text="Secret")["mid"]
    act("unsend")
    assert last() == ("message", {"mid": mid, "is_deleted": True})
    assert read_mid(mid)["error"]["code"] == 9000001
    answer = call("GET", "/me/conversations?fields=messages{id,message}", token=connect()).json
    assert [row["message"] for row in answer["data"][0]["messages"]["data"]] == ["Stays"]
    assert "Secret" not in json.dumps(answer)


def test_shop_takes_back_what_it_wrote(connect, act, control, site):
    connect()
    act("say", text="Hello")
    mid = act("phone-reply", text="Wrong chat")["mid"]
    act("unsend", mid=mid)
    control("flush")
    event = site.events[-1]
    assert event["sender"]["id"] == LUNA
    assert event["message"] == {"mid": mid, "is_deleted": True, "is_echo": True}


def test_reading_names_the_newest_message_of_the_shop(connect, act, last):
    connect()
    act("say", text="Hello")
    act("phone-reply", text="One")
    mid = act("phone-reply", text="Two")["mid"]
    act("read")
    assert last() == ("read", {"mid": mid})


def test_postback_has_its_shape_and_reads_like_a_message(
    connect, act, last, read_mid, send, control
):
    token = connect()
    tapped = act("postback", title="Get started", payload="START", referral={"ref": "qr-42"})
    assert last() == (
        "postback",
        {
            "mid": tapped["mid"],
            "title": "Get started",
            "payload": "START",
            "referral": {"ref": "qr-42"},
        },
    )
    assert read_mid(tapped["mid"])["message"] == "Get started"
    assert send(token, tapped["igsid"]).status == 200
    control("flush")
    act("postback", mid=False)
    assert last() == ("postback", {"title": "Opening hours", "payload": "HOURS"})


def test_referral_is_told_and_writes_nothing(connect, act, last, send):
    token = connect()
    came = act("referral", ref="poster", source="ADS")
    assert last() == ("referral", {"ref": "poster", "source": "ADS", "type": "OPEN_THREAD"})
    assert send(token, came["igsid"]).status == 403


@pytest.mark.parametrize(
    ("kind", "attachment"),
    [
        ("video", "video"),
        ("audio", "audio"),
        ("file", "file"),
        ("gif", "image"),
        ("sticker", "image"),
        ("heart", "like_heart"),
        ("post", "ig_post"),
        ("reel", "ig_reel"),
        ("story", "ig_story"),
        ("story_mention", "story_mention"),
        ("share", "share"),
        ("shared_comment", "template"),
        ("link", "fallback"),
        ("ephemeral", "ephemeral"),
        ("unsupported_type", "unsupported_type"),
    ],
)
def test_each_kind_of_attachment_has_its_type(connect, act, last, kind, attachment):
    connect()
    act("say", kind=kind)
    name, message = last()
    assert (name, list(message)) == ("message", ["mid", "attachments"])
    assert [row["type"] for row in message["attachments"]] == [attachment]


def test_particular_kinds_are_as_seen_on_the_wire(connect, act, last):
    connect()

    def said(kind):
        act("say", kind=kind)
        return last()[1]

    assert said("heart")["attachments"] == [{"type": "like_heart"}]
    assert said("sticker")["attachments"][0]["payload"]["sticker_id"] == 369239263222822
    assert "url" not in said("story")["attachments"][0]["payload"]
    assert [row["type"] for row in said("share_and_post")["attachments"]] == ["share", "ig_post"]
    assert len(said("images")["attachments"]) == 3
    assert said("unsupported")["is_unsupported"] is True
    assert said("quick_reply")["quick_reply"] == {"payload": "COLOR_RED"}
    assert set(said("story_reply")["reply_to"]["story"]) == {"id", "url"}
    assert said("ad")["referral"]["source"] == "ADS"
    assert said("product")["referral"] == {"product": {"id": "5500000000000001"}}


def test_answer_names_its_message_and_says_when_it_is_ones_own(connect, act, last):
    connect()
    own = act("say", text="Hello")["mid"]
    theirs = act("phone-reply", text="Hi")["mid"]
    act("say", text="As I said", reply_to=own)
    assert last()[1]["reply_to"] == {"mid": own}
    assert last()[1]["is_self_reply"] is True
    act("say", text="This one", reply_to=theirs)
    assert "is_self_reply" not in last()[1]


@pytest.mark.parametrize(
    ("kind", "content_type", "start"),
    [
        ("video", "video/mp4", b"\0\0\0$ftyp"),
        ("audio", "audio/wav", b"RIFF"),
        ("file", "application/pdf", b"%PDF-1.4"),
        ("image", "image/png", b"\x89PNG"),
    ],
)
def test_samples_are_real_files(connect, act, last, call, sandbox, kind, content_type, start):
    connect()
    act("say", kind=kind)
    url = last()[1]["attachments"][0]["payload"]["url"]
    answer = call("GET", url.removeprefix(sandbox.url))
    assert answer.headers["Content-Type"] == content_type
    assert answer.body.startswith(start)


def test_shop_sends_pictures_from_its_phone_and_from_another_app(connect, act, control, site):
    connect()
    act("phone-reply", kind="image")
    act("phone-reply", text="Sent by a machine", by="other_app")
    control("flush")
    picture, text = (event["message"] for event in site.events)
    assert (picture["is_echo"], picture["attachments"][0]["type"]) == (True, "image")
    assert {**text, "mid": ""} == {"mid": "", "text": "Sent by a machine", "is_echo": True}


@pytest.mark.parametrize(
    ("manner", "heard"),
    [
        ("none", ["message"]),
        ("after", ["message", "message_edit"]),
        ("bare", ["message", "message_edit"]),
        ("before", ["message_edit", "message"]),
        ("instead", ["message_edit"]),
    ],
)
def test_stray_edits_come_with_attachments(connect, act, control, site, manner, heard):
    connect()
    control("settings", stray_edits=manner)
    said = act("say", kind="image")
    control("flush")
    names = ("message", "message_edit")
    assert [name for event in site.events for name in names if name in event] == heard
    assert said["heard"] is (manner != "instead")
    for event in site.events:
        if "message_edit" in event:
            assert event["message_edit"] == {"mid": said["mid"], "num_edit": 0}
            assert ("sender" in event) is (manner == "after")


def test_acts_tell_their_mistakes(call):
    for command, order in [
        ("react", {}),
        ("edit", {"text": "Nothing to edit"}),
        ("unsend", {"mid": "unknown"}),
        ("say", {"kind": "hologram"}),
        ("say", {"kind": ["image"]}),
        ("phone-reply", {"text": "Hi", "by": "nobody"}),
        ("history", {"count": 1000}),
        ("history", {"by": ["both"]}),
        ("event", {"kind": "wedding"}),
        ("test-button", {"variant": "red"}),
        ("subscription", {"lose": "messages"}),
    ]:
        answer = call("POST", f"/_sandbox/{command}", order={**WHO, **order}, token="control-me")
        assert answer.status == 400, command
        assert answer.json["error"]


def test_postback_that_still_waited_comes_as_a_postback_after_a_restart(sandbox, connect, act):
    connect()
    tapped = act("postback")
    again = type(sandbox.world)()
    again.restore(json.loads(json.dumps(sandbox.world.to_dict())))
    [conversation] = again.conversations.values()
    assert conversation.messages[0].mid == tapped["mid"]
    assert conversation.messages[0].postback == {"title": "Opening hours", "payload": "HOURS"}
