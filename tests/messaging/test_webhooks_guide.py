"""The receiver that docs/webhooks.md prints runs, and takes what is genuine alone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from messaging import endpoints
from messaging.models import Delivery, EventType
from tests.waiting import eventually, free_port

from .forwards import forward, say

pytestmark = pytest.mark.django_db(transaction=True)

GUIDE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()


def test_the_receiver_of_the_guide_verifies_what_we_sign(account, conversation, tmp_path):
    code = re.search(r"```python\n(.*?)```", GUIDE, re.DOTALL)[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    (tmp_path / "receiver.py").write_text(code)
    port = free_port()
    endpoint, secret = endpoints.add(account, f"http://127.0.0.1:{port}/")
    receiver = subprocess.Popen(
        [sys.executable, tmp_path / "receiver.py"],
        env={**os.environ, "WEBHOOK_SECRET": secret, "PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        eventually(lambda: answers(port) == 400)  # What is not signed is refused.
        say(conversation, "Is it still there?")
        forward()
        delivery = Delivery.objects.get()
        assert delivery.state == Delivery.State.DELIVERED
        said = receiver.stdout.readline().strip()
        assert said == f"{delivery.public_id} message.received Is it still there?"
        endpoints.rotate(endpoint)  # It still has the secret before.
        say(conversation, "And now?")
        forward()
        assert receiver.stdout.readline().endswith("And now?\n")
    finally:
        receiver.kill()
        receiver.communicate()


def answers(port):
    try:
        return requests.post(f"http://127.0.0.1:{port}/", data=b"{}", timeout=5).status_code
    except requests.ConnectionError:
        return None


def test_the_guide_names_every_event():
    for kind in EventType.values:
        assert f"| `{kind}` |" in GUIDE
