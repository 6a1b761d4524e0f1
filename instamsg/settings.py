"""All settings, read once from the environment and typed. `.env.example` explains each one."""

import os
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from crypto import secrets
from crypto.keyring import KeyRing

from . import logs
from .environment import BASE_DIR, ENV_FILE, env, given, options, passwords  # noqa: F401  (a setting)
from .environment import LAYERS as layers  # In capitals it would be shown as a setting.

project = tomllib.loads((BASE_DIR / "pyproject.toml").read_text())["project"]
RELEASE = project["version"]  # Said nowhere else: whoever tells it asks here.

ENVIRONMENT = env.str("ENVIRONMENT", default="production")
if ENVIRONMENT not in ("development", "production"):
    raise ImproperlyConfigured(
        f"ENVIRONMENT is {ENVIRONMENT!r}; it must be development or production."
    )
IS_PRODUCTION = ENVIRONMENT == "production"
DEBUG = not IS_PRODUCTION and env.bool("DEBUG", default=False)

# --- Secrets ------------------------------------------------------------------------------------

session_secret = secrets.read("SESSION_SECRET", layers)
session_secret_fallbacks = secrets.read_list("SESSION_SECRET_FALLBACKS", layers)
SESSION_SECRET_IS_EPHEMERAL = (
    session_secret is None and not IS_PRODUCTION and secrets.EPHEMERAL in os.environ
)
if SESSION_SECRET_IS_EPHEMERAL:
    session_secret = os.environ[secrets.EPHEMERAL]
KEYRING = KeyRing(session_secret, session_secret_fallbacks)
WEAK_SECRETS = [
    (name, reason)
    for name, value in [
        ("SESSION_SECRET", session_secret),
        *(("SESSION_SECRET_FALLBACKS", value) for value in session_secret_fallbacks),
    ]
    if value and (reason := secrets.weakness(value))
]
# Without a secret nothing is served; the commands that repair still need some value here.
SECRET_KEY = KEYRING.primary.django_key if KEYRING.primary else os.urandom(32).hex()
SECRET_KEY_FALLBACKS = [key.django_key for key in KEYRING.fallbacks]

INSTAGRAM_APP_SECRETS = secrets.read_list("INSTAGRAM_APP_SECRET", layers)
INSTAGRAM_VERIFY_TOKEN = secrets.read("INSTAGRAM_VERIFY_TOKEN", layers) or ""
database_url = secrets.read("DATABASE_URL", layers)
email_url = secrets.read("EMAIL_URL", layers)
METRICS_TOKEN = secrets.read("METRICS_TOKEN", layers)
task_queue_url = secrets.read("TASK_QUEUE_URL", layers)
BACKUP_PASSPHRASE = secrets.read("BACKUP_PASSPHRASE", layers)
media_storage_options = secrets.read("MEDIA_STORAGE_OPTIONS", layers)

# --- Where the site is reached -------------------------------------------------------------------

PORT = env.int("PORT", default=8000)
PUBLIC_BASE_URL = env.str("PUBLIC_BASE_URL", default=f"http://127.0.0.1:{PORT}").rstrip("/")
public = urlsplit(PUBLIC_BASE_URL)
IS_HTTPS = public.scheme == "https"
ALLOWED_HOSTS = [
    *filter(None, [public.hostname]),
    *env.list("ALLOWED_HOSTS", default=[]),
    "127.0.0.1",
    "localhost",
]
CSRF_TRUSTED_ORIGINS = [f"{public.scheme}://{public.netloc}"]
TRUSTED_PROXIES = env.list("TRUSTED_PROXIES", default=[])

# --- Instagram ----------------------------------------------------------------------------------

INSTAGRAM_APP_ID = env.str("INSTAGRAM_APP_ID", default="")
INSTAGRAM_API_VERSION = env.str("INSTAGRAM_API_VERSION", default="v25.0")
INSTAGRAM_AUTHORIZE_URL = env.str(
    "INSTAGRAM_AUTHORIZE_URL", default="https://www.instagram.com/oauth/authorize"
)
INSTAGRAM_TOKEN_URL = env.str(
    "INSTAGRAM_TOKEN_URL", default="https://api.instagram.com/oauth/access_token"
)
INSTAGRAM_GRAPH_URL = env.str("INSTAGRAM_GRAPH_URL", default="https://graph.instagram.com")
INSTAGRAM_SCOPES = env.list(
    "INSTAGRAM_SCOPES",
    default=["instagram_business_basic", "instagram_business_manage_messages"],
)
INSTAGRAM_TIMEOUT = env.float("INSTAGRAM_TIMEOUT", default=10.0)

# --- Data ---------------------------------------------------------------------------------------

SQLITE_PATH = BASE_DIR / "instagram_automation.db"
# A 200 to Meta is a promise, so every commit reaches the disk; what was erased is overwritten;
# and readers go on while somebody writes.
SQLITE_PRAGMAS = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;"
DATABASE_WAIT = 3
"""Seconds to wait for the database: Meta gives up after five (platform reference, 3.4)."""

DATABASES = {
    "default": env.db_url_config(database_url)
    if database_url
    else {"ENGINE": "django.db.backends.sqlite3", "NAME": SQLITE_PATH}
}
IS_SQLITE = DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3"
DATABASES["default"].setdefault("OPTIONS", {})
if IS_SQLITE:
    DATABASES["default"]["ENGINE"] = "instamsg.sqlite"
    DATABASES["default"]["OPTIONS"] |= {
        "timeout": DATABASE_WAIT,
        "transaction_mode": "IMMEDIATE",
        "init_command": SQLITE_PRAGMAS,
    }
    # Opening takes longer than most requests need; a file put in its place is noticed in time.
    DATABASES["default"]["CONN_MAX_AGE"] = 60
else:
    DATABASES["default"]["OPTIONS"] |= {
        "connect_timeout": DATABASE_WAIT,
        # Of statements by hand alone: Django's own cursors send each with its values in it.
        "prepare_threshold": 5,
        # A server that vanished is noticed, not waited for.
        "keepalives_idle": 30,
        "tcp_user_timeout": 10_000,
        "pool": {
            "min_size": 1,
            "max_size": 16,
            "timeout": DATABASE_WAIT,
            # Its pauses double for so long, 5 minutes by default: a server that is back would be
            # noticed late. After it has given up, the next request tries at once.
            "reconnect_timeout": 1,
        },
    }
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

WEBHOOK_RETENTION_DAYS = env.int("WEBHOOK_RETENTION_DAYS", default=30)
# A first look is taken with receivers on the same machine.
ALLOW_PRIVATE_WEBHOOK_TARGETS = env.bool("ALLOW_PRIVATE_WEBHOOK_TARGETS", default=not IS_PRODUCTION)
MEDIA_ROOT = Path(env.str("MEDIA_ROOT", default=str(BASE_DIR / "media")))
MEDIA_STORAGE = env.str("MEDIA_STORAGE", default="")
"""The class that keeps files in place of MEDIA_ROOT, for several hosts: of django-storages, say."""
MEDIA_STORAGE_OPTIONS = options("MEDIA_STORAGE_OPTIONS", media_storage_options)
MEDIA_RETENTION_DAYS = env.int("MEDIA_RETENTION_DAYS", default=0)  # 0: for ever

# --- The task queue: a hint to look at the rows, which are the truth ------------------------------

if not task_queue_url:
    task_queue_url = f"sqlite:///{BASE_DIR / 'task_queue.db'}" if IS_SQLITE else database_url
queue = urlsplit(task_queue_url)
if queue.scheme == "sqlite":
    # create_tables would connect at import; run_huey makes them.
    queue_backend = {
        "huey_class": "huey.SqliteHuey",
        "connection": {
            "filename": queue.path[1:],
            "fsync": False,
            "timeout": 1,
            "create_tables": False,
        },
    }
elif queue.scheme in ("redis", "rediss"):
    queue_backend = {"huey_class": "huey.RedisHuey", "connection": {"url": task_queue_url}}
else:
    queue_backend = {
        "huey_class": "huey.PostgresHuey",
        "connection": {
            "dsn": task_queue_url,
            "create_tables": False,
            "connect_timeout": DATABASE_WAIT,
            "tcp_user_timeout": 10_000,
            "options": "-c synchronous_commit=off",  # As on SQLite: a lost hint costs a minute.
        },
    }
HUEY = queue_backend | {
    "name": "instamsg",
    "immediate": False,  # It would follow DEBUG otherwise.
    "results": False,
    "consumer": {
        "workers": 6,
        "worker_type": "thread",
        "initial_delay": 0.05,
        "max_delay": 0.05,
        "backoff": 1,
        "graceful_signal": "TERM",
        "shutdown_timeout": 15,
    },
}

# --- Django -------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "crypto",
    "accounts",
    "messaging",
    "instamsg.admin.SuperuserAdminConfig",  # django.contrib.admin, for superusers only
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "huey.contrib.djhuey",
    "axes",
    "csp",
    "ninja",  # Its documentation page then loads nothing from elsewhere.
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "instamsg.middleware.Policy",
    "accounts.api_middleware.ApiMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "crypto.actor.ActorMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "instamsg.urls"
WSGI_APPLICATION = "instamsg.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "crypto.verdict.for_staff",
                "crypto.workers.for_pages",
            ],
        },
    }
]
STATIC_URL = "static/"
# In development each file is served from where it lies.
STATIC_ROOT = BASE_DIR / "staticfiles" if IS_PRODUCTION else None
STATICFILES_DIRS = [BASE_DIR / "instamsg" / "static"]
STORAGES = {
    "default": {"BACKEND": MEDIA_STORAGE, "OPTIONS": MEDIA_STORAGE_OPTIONS}
    if MEDIA_STORAGE
    else {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if IS_PRODUCTION
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = not IS_PRODUCTION

USE_TZ = True
TIME_ZONE = env.str("TIME_ZONE", default="UTC")
LANGUAGE_CODE = "en"
USE_I18N = True

# --- Who may come in ------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    # Of users who moved in with the predecessor's; the next login makes it the one above.
    "django.contrib.auth.hashers.BCryptPasswordHasher",
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "inbox"
LOGOUT_REDIRECT_URL = "login"
PASSWORD_RESET_TIMEOUT = 60 * 60

SESSION_ENGINE = "accounts.sessions"
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = IS_HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"  # Strict would log out whoever comes back from Instagram.

# User name and address together: one stranger locks out neither a colleague nor a whole office.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_USERNAME_CALLABLE = "accounts.audit.tried_name"
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = 0.25  # hours
AXES_RESET_ON_SUCCESS = True
AXES_LOCKOUT_TEMPLATE = "registration/locked_out.html"
AXES_HTTP_RESPONSE_CODE = 429
AXES_DISABLE_ACCESS_LOG = True
AXES_VERBOSE = False

API_RATE_LIMIT = env.int("API_RATE_LIMIT", default=6000)
"""Requests a minute, for each user, all their API keys together: Instagram takes a hundred messages
a second.
"""

# --- What browsers may do -------------------------------------------------------------------------

authorize = urlsplit(INSTAGRAM_AUTHORIZE_URL)
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'"],
        "media-src": ["'self'"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        # The Connect button posts here and is redirected there; browsers check both.
        "form-action": ["'self'", f"{authorize.scheme}://{authorize.netloc}"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SECURE_SSL_REDIRECT = IS_HTTPS
# Machines on the same host speak to these without a proxy between.
SECURE_REDIRECT_EXEMPT = [r"^(api/|webhooks/|livez$|readyz$|health$|metrics$)"]
SECURE_HSTS_SECONDS = 31_536_000 if IS_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = IS_HTTPS
# Meta batches up to 1,000 events into one POST; nothing larger is read.
DATA_UPLOAD_MAX_MEMORY_SIZE = 16 * 1024 * 1024
FILE_UPLOAD_HANDLERS = [
    "messaging.uploads.LimitedUpload",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]

# --- Mail and logs --------------------------------------------------------------------------------

EMAIL_IS_CONFIGURED = email_url is not None
no_mail = "dummymail://" if IS_PRODUCTION else "consolemail://"
vars().update(env.email_url_config(email_url or no_mail))
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default=f"instamsg@{public.hostname}")

LOGGING = logs.configuration(
    level=env.str("LOG_LEVEL", default="INFO").upper(),
    style=env.str("LOG_FORMAT", default="text"),
    secrets=[
        *(session_secret, *session_secret_fallbacks),
        *(SECRET_KEY, *SECRET_KEY_FALLBACKS),
        *(*INSTAGRAM_APP_SECRETS, INSTAGRAM_VERIFY_TOKEN, METRICS_TOKEN),
        BACKUP_PASSPHRASE,
        *passwords(MEDIA_STORAGE_OPTIONS),
        *(DATABASES["default"].get("PASSWORD"), vars().get("EMAIL_HOST_PASSWORD"), queue.password),
        # What a rotation without the site is given.
        *(os.environ.get("OLD_SECRET"), os.environ.get("NEW_SECRET")),
    ],
)
DEFAULT_EXCEPTION_REPORTER = "instamsg.error_reports.RedactingReporter"
# The one error page that no reporter makes; innermost, so that it sees each of them.
MIDDLEWARE.append("instamsg.error_reports.RedactDebug404")

SETTINGS_GIVEN = given()
"""By name, for backups: what is set, with its value unless that is a secret."""
