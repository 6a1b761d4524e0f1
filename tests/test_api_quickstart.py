"""The quickstart of docs/api.md, run as it stands there."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from .messaging.test_media import PNG
from .running_site import PASSWORD, RunningSite
from .waiting import A_WHILE, eventually

pytestmark = pytest.mark.processes

TEXT = (Path(__file__).parent.parent / "docs" / "api.md").read_text()
QUICKSTART = re.search(r"^## Quickstart.*?(?=^## )", TEXT, re.M | re.S)[0]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with RunningSite(tmp_path_factory.mktemp("quickstart")) as site:
        site.log_in()
        site.connect()
        yield site


@pytest.fixture(scope="module")
def key(site):
    login = {"username": "mara", "password": PASSWORD}
    answer = requests.post(f"{site.url}/api/v1/auth/token", json=login, timeout=10)
    return answer.json()["api_key"]


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", QUICKSTART, re.M | re.S)


def run(command, site, key, folder):
    result = subprocess.run(
        command,
        cwd=folder,
        env=site.environment | {"API_KEY": key},
        capture_output=True,
        text=True,
        timeout=A_WHILE,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_commands_answer_a_customer(site, key, tmp_path):
    said = site.say("Is the blue one here?")
    eventually(lambda: site.rows("SELECT 1 FROM messages"))
    (tmp_path / "cup.png").write_bytes(PNG)
    real = {"http://localhost:8000": site.url, "1184527390664218": said["igsid"]}
    answers = []
    for block in blocks("sh"):
        for example, mine in real.items():
            block = block.replace(example, mine)
        answers.append(json.loads(run(["sh", "-ec", block], site, key, tmp_path)))
        if len(answers) == 1:
            [shown] = answers[0]["conversations"]
            assert (shown["recipient_id"], shown["is_open"]) == (said["igsid"], True)
            real["acc_89baed550ed9"] = shown["account_id"]
        elif len(answers) == 2:
            real["msg_019ac2f4d1e83fb09a6d51c2e07a"] = answers[1]["message_id"]
    _, text, form, status = answers
    assert set(text) == set(json.loads(blocks("json")[0]))
    assert len(form["message_ids"]) == 2
    assert status["message_id"] == text["message_id"]
    eventually(lambda: len(site.sent_by_api()) == 3)
    assert site.sent_by_api() == ["Yes, it is here.", None, "This one?"]


def test_the_program_answers_everybody_once(site, key, tmp_path):
    site.say("And the red one?")
    count = "SELECT COUNT(*) FROM messages WHERE direction = 'in' AND text = 'And the red one?'"
    eventually(lambda: site.rows(count) == [(1,)])
    [program] = blocks("python")
    command = [sys.executable, "-c", program.replace("http://localhost:8000", site.url)]
    told = run(command, site, key, tmp_path)
    assert "wrote: And the red one?" in told
    assert "The answer is sent" in told
    assert run(command, site, key, tmp_path) == ""
    assert [text for text in site.sent_by_api() if text and text.startswith("Thank you")] == [
        "Thank you! A person answers within the day."
    ]
