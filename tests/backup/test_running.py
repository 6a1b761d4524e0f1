"""A backup of the real site, while webhooks come and its worker writes."""

import itertools
import json
import threading
from pathlib import Path

import pytest

from tests.running_site import SECRET, RunningSite
from tests.test_kills import text_from
from tests.waiting import eventually

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with RunningSite(tmp_path_factory.mktemp("running"), BACKUP_PASSPHRASE="") as site:
        site.log_in()
        site.connect()
        yield site


def test_no_webhook_waits_for_it_and_it_shows_one_moment(site, new_site):
    ((account,),) = site.rows("SELECT instagram_account_id FROM accounts")
    accepted, refused, stop = [], [], threading.Event()

    def deliver() -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            mid = f"mid-{number}"
            answer = site.post_webhook(text_from("9000", mid, account))
            (accepted if answer.ok else refused).append(mid)

    sender = threading.Thread(target=deliver)
    sender.start()
    eventually(lambda: len(accepted) > 20)
    before, folder = len(accepted), site.folder / "backups"
    said = [json.loads(site.manage("backup", f"--backup-dir={folder}", "--json")) for _ in range(3)]
    eventually(lambda: len(accepted) > before)
    stop.set()
    sender.join()
    assert refused == []

    path = Path(said[-1]["path"])
    restored = new_site()
    done = restored.restore(path, ring=(SECRET,))
    assert done.code == 0, done.err
    hooks, messages = said[-1]["tables"]["webhook_events"], said[-1]["tables"]["messages"]
    assert hooks >= before, "what was accepted before is in it"
    assert restored.execute("SELECT count(*) FROM messages") == [(messages,)]
    kept = {mid for (mid,) in restored.execute("SELECT mid FROM messages")}
    assert kept <= set(accepted)
    tokens = site.rows("SELECT access_token_encrypted FROM accounts")
    assert restored.execute("SELECT access_token_encrypted FROM accounts") == tokens


def test_the_restored_site_goes_on_where_it_was(site, new_site):
    ((account,),) = site.rows("SELECT instagram_account_id FROM accounts")
    folder = site.folder / "backups"
    path = json.loads(site.manage("backup", f"--backup-dir={folder}", "--json"))["path"]
    restored = new_site()
    for process in (site.worker, site.web):
        site.kill(process)
    assert restored.restore(path, ring=(SECRET,)).code == 0
    site.environment |= {"DATABASE_URL": restored.database.url, "MEDIA_ROOT": str(restored.media)}
    site.start_web()
    site.start_worker()
    assert "luna.ceramics" in site.get("/accounts/").text, "nobody had to log in again"
    assert site.post_webhook(text_from("9001", "after-it", account)).ok
    after = "SELECT count(*) FROM messages WHERE mid = 'after-it'"
    eventually(lambda: restored.execute(after) == [(1,)])
