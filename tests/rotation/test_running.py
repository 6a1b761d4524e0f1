"""A rotation beside the running site: web, worker and people at work, as real processes."""

import json
import re
import secrets
import signal
import subprocess
import threading

import pytest

from tests.running_site import MANAGE, RunningSite
from tests.test_kills import expire_leases
from tests.waiting import A_WHILE, eventually

from .installation import fingerprint, opens

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def made_site(tmp_path_factory):
    with RunningSite(tmp_path_factory.mktemp("rotating")) as site:
        site.log_in()
        site.connect()
        yield site


@pytest.fixture
def site(made_site):
    """@luna.ceramics connected, and everything under the one secret that the site runs with."""
    if made_site.environment.get("SESSION_SECRET_FALLBACKS"):
        restart(made_site, made_site.environment["SESSION_SECRET"])
        made_site.log_in()
    return made_site


@pytest.fixture
def old(site) -> str:
    return site.environment["SESSION_SECRET"]


@pytest.fixture
def new() -> str:
    return f"N3w-{secrets.token_urlsafe(32)}"


def restart(site: RunningSite, secret: str, *fallbacks: str) -> None:
    for process in (site.worker, site.web):
        site.kill(process, signal.SIGTERM)
    site.environment |= {
        "SESSION_SECRET": secret,
        "SESSION_SECRET_FALLBACKS": ",".join(fallbacks),
    }
    site.start_web()
    site.start_worker()


def run(site: RunningSite, *command: str, ring: tuple[str, ...]) -> subprocess.CompletedProcess:
    secret, *fallbacks = ring
    environment = site.environment | {
        "SESSION_SECRET": secret,
        "SESSION_SECRET_FALLBACKS": ",".join(fallbacks),
    }
    return subprocess.run(
        [*MANAGE, *command], env=environment, capture_output=True, text=True, timeout=A_WHILE
    )


def rotate(site: RunningSite, *options: str, ring: tuple[str, ...]) -> subprocess.CompletedProcess:
    return run(site, "rotate_secret", "--no-backup", *options, ring=ring)


def stored(site: RunningSite) -> str:
    ((value,),) = site.rows("SELECT access_token_encrypted FROM accounts")
    return value


def verdict(site: RunningSite) -> str:
    return site.get("/readyz").json()["secret"]["state"]


def is_logged_in(site: RunningSite) -> bool:
    return site.get("/accounts/", allow_redirects=False).status_code == 200


def conversation(site: RunningSite) -> str:
    """The path of the one with the customer who has just written."""
    said = site.say("Hello")
    query = f"SELECT id FROM conversations WHERE igsid = '{said['igsid']}'"
    ((pk,),) = eventually(lambda: site.rows(query))
    return f"/conversations/{pk}/"


def wait_until_all_is_sent(site: RunningSite) -> None:
    eventually(lambda: not count(site, "is_from_here AND status IN ('queued', 'sending')"))


def reply(site: RunningSite, thread: str, text: str) -> None:
    assert site.submit(thread, f"{thread}reply", text=text).status_code == 302


def status(site: RunningSite, text: str) -> str:
    ((found,),) = site.rows(f"SELECT status FROM messages WHERE text = '{text}' AND is_from_here")
    return found


def count(site: RunningSite, where: str) -> int:
    ((number,),) = site.rows(f"SELECT count(*) FROM messages WHERE {where}")
    return number


def test_rotated_while_people_write_nothing_is_lost_and_nobody_is_logged_out(site, old, new):
    thread = conversation(site)
    old_cookies = site.browser.cookies.copy()
    restart(site, new, old)
    assert verdict(site) == "fallback"
    written, said, trouble, stop = [], [], [], threading.Event()

    def speak() -> None:
        while not stop.wait(0.02):
            text = f"question {len(said)}"
            site.say(text)
            said.append(text)

    def answer() -> None:
        while not stop.is_set():
            text = f"answer {len(written)}"
            reply(site, thread, text)
            written.append(text)

    def at_work(act) -> threading.Thread:
        def work() -> None:
            try:
                act()
            except Exception as exc:  # In a thread nobody else would notice.
                trouble.append(exc)

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    people = [at_work(speak), at_work(answer)]
    eventually(lambda: len(written) > 2)
    done = rotate(site, ring=(new, old))
    before = len(written)
    eventually(lambda: len(written) > before + 2 or trouble)
    stop.set()
    for person in people:
        person.join()
    assert not trouble
    assert done.returncode == 0, done.stderr
    assert opens(new, stored(site))

    wait_until_all_is_sent(site)
    assert {status(site, text) for text in written} == {"sent"}
    assert [text for text in site.sent_by_api() if text.startswith("answer")] == written
    site.control("flush")
    eventually(lambda: count(site, "text LIKE 'question %'") == len(said))
    assert "Failed to decrypt" not in site.log
    assert is_logged_in(site)
    checked = run(site, "check_secret", "--json", ring=(new, old))
    assert checked.returncode == 0, checked.stdout
    assert len(json.loads(checked.stdout)["processes"]) == 2

    # The fallback goes, and with it what it alone had signed.
    restart(site, new)
    assert verdict(site) == "current"
    assert is_logged_in(site), "the cookie was renewed meanwhile"
    reply(site, thread, f"after {new[-5:]}")
    wait_until_all_is_sent(site)
    assert status(site, f"after {new[-5:]}") == "sent"
    renewed, site.browser.cookies = site.browser.cookies, old_cookies
    assert not is_logged_in(site)
    site.browser.cookies = renewed


def test_a_site_that_lacks_the_new_secret_keeps_it_from_happening_and_with_force_steps_aside(
    site, old, new
):
    thread = conversation(site)
    before = stored(site)
    refused = rotate(site, ring=(new, old))
    assert refused.returncode == 1
    assert f"do not hold the new secret ({fingerprint(new)})" in refused.stderr
    for kind in ("web", "worker"):
        assert re.search(rf"{kind} process \d+ on ", refused.stderr), refused.stderr
    assert stored(site) == before
    checked = run(site, "check_secret", "--json", ring=(new, old))
    assert checked.returncode == 3
    assert len(json.loads(checked.stdout)["processes_without_it"]) == 2

    assert rotate(site, "--force", ring=(new, old)).returncode == 0
    after = stored(site)
    assert opens(new, after)
    eventually(lambda: verdict(site) == "superseded", 20)
    assert is_logged_in(site), "who has the old secret still knows its logins"
    answer = site.connect()
    assert answer.status_code == 503
    assert "This site needs a restart first" in answer.text
    assert stored(site) == after
    reply(site, thread, f"later {new[-5:]}")
    said = site.say(f"Are you there? {new[-5:]}")
    eventually(lambda: count(site, f"mid = '{said['mid']}'"))
    assert status(site, f"later {new[-5:]}") != "sent"

    restart(site, new)
    eventually(lambda: verdict(site) == "current")
    site.log_in()
    expire_leases(site)
    eventually(lambda: status(site, f"later {new[-5:]}") == "sent")
    assert site.sent_by_api().count(f"later {new[-5:]}") == 1
    assert run(site, "check_secret", ring=(new,)).returncode == 0
