"""The site's database and server settings, and none of its code."""

from instamsg.settings import *  # noqa: F403  (all but what follows)

INSTALLED_APPS = []
MIDDLEWARE = []
ROOT_URLCONF = "tests.benchmarks.bare_site"
AUTH_USER_MODEL = "auth.User"
AUTHENTICATION_BACKENDS = []
LOGGING_CONFIG = None
