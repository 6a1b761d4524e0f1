"""A real Chromium, looking at the site that `live_server` serves."""

import shutil

import pytest

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAMES = ["chromium", "chromium-browser", "google-chrome"]


# Of the package, not the session: Playwright's event loop must be gone before other tests run.
@pytest.fixture(scope="package")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no Chromium found: none of {', '.join(NAMES)} is on the PATH")
    with pytest.MonkeyPatch.context() as patch, playwright.sync_playwright() as driver:
        # Django sees the event loop and would refuse the ORM to the tests.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, live_server, client):
    """Opens a tab: `user` is logged in there; `options` are those of a browser context.

    The tab's `complaints` are the console's errors and what scripts threw, CSP violations among
    them; they fail the test unless it has looked and cleared them.
    """
    contexts, complaints = [], []

    def open_page(path="/", *, user=None, **options):
        context = chromium.new_context(base_url=live_server.url, **options)
        contexts.append(context)
        context.set_default_timeout(15_000)  # Milliseconds; machines may be busy.
        if user:
            client.force_login(user)
            cookie = {"name": "sessionid", "value": client.cookies["sessionid"].value}
            context.add_cookies([cookie | {"url": live_server.url}])
        page = context.new_page()
        page.complaints = complaints
        page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    # An answer with an error status is what some tests ask for.
    assert [c for c in complaints if "Failed to load resource" not in c] == []
