"""What a test compares with the site's own table: every message that shops sent."""

from instamsg.sandbox import state


def test_the_record_has_every_message_in_order_of_arrival(open_chat, send, control, say):
    token, igsid = open_chat
    mids = [send(token, igsid, message={"text": f"{n}"}).json["message_id"] for n in range(3)]
    reply = control("phone-reply", account="luna.ceramics", customer="mila.tests", text="By phone")
    heart = send(token, igsid, message={"attachment": {"type": "like_heart"}}).json["message_id"]
    answer = control("sent", method="GET")
    rows = answer["sent"]
    assert [row["mid"] for row in rows] == [*mids, reply["mid"], heart]
    assert [row["text"] for row in rows] == ["0", "1", "2", "By phone", None]
    assert [row["by"] for row in rows] == ["api", "api", "api", "phone", "api"]
    assert [row["number"] for row in rows] == [1, 2, 3, 4, 5]
    assert {(row["account"], row["igsid"]) for row in rows} == {("luna.ceramics", igsid)}
    assert rows[4]["attachments"] == ["like_heart"]
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)
    assert answer["number"] == 5


def test_the_record_can_be_read_on(open_chat, send, control, connect, say):
    other = connect("north.bikes"), say(account="north.bikes")["igsid"]
    for chat in (open_chat, other, open_chat):
        send(*chat)
    assert [row["number"] for row in control("sent", "GET", since=2)["sent"]] == [3]
    assert [row["number"] for row in control("sent", "GET", account="north.bikes")["sent"]] == [2]
    assert control("sent", "GET", by="phone")["sent"] == []


def test_a_chat_forgets_and_the_record_does_not(open_chat, send, control, monkeypatch):
    monkeypatch.setattr(state, "KEPT_MESSAGES", 2)
    for number in range(4):
        send(*open_chat, message={"text": f"{number}"})
    [conversation] = control("state", method="GET")["conversations"]
    assert len(conversation["messages"]) == 2
    texts = [row["text"] for row in control("sent", method="GET")["sent"]]
    assert texts == ["0", "1", "2", "3"]


def test_what_was_taken_back_is_gone_from_the_record_too(open_chat, send, control):
    mid = send(*open_chat, message={"text": "A slip"}).json["message_id"]
    control("unsend", account="luna.ceramics", customer="mila.tests", mid=mid)
    [row] = control("sent", method="GET")["sent"]
    assert (row["mid"], row["text"]) == (mid, None)
