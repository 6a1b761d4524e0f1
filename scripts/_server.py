"""How the web server is started, by start.py for a look and by serve.py for good."""

# Why no --backpressure: docs/adr/0010-connections-are-not-requests.md. No access log either:
# addresses hold what opens something, once. Under load a server process was seen not to end when
# told to; it is killed then: what it had said yes to is committed.
SERVER = (
    "granian --interface wsgi instamsg.wsgi:application --blocking-threads 32 --log-level error "
    "--workers-kill-timeout 10"
)


def command(python: str, port: int, host: str = "127.0.0.1", workers: int = 1) -> list[str]:
    where = ["--host", host, "--port", str(port), "--workers", str(workers)]
    return [python, "-m", *SERVER.split(), *where]
