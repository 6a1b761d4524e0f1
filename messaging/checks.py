"""System checks: a site whose files would have no place does not start."""

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.files.storage import FileSystemStorage, storages

from crypto.startup import STARTUP

HOW = (
    "It is the full name of a Django storage, such as storages.backends.s3.S3Storage; its package "
    'has to be installed beside the site\'s own (pip install "django-storages[s3]"), and '
    "MEDIA_STORAGE_OPTIONS holds what the class takes. See “Files on several hosts” in "
    "docs/scale.md."
)


@register(STARTUP)
def check_media_storage(app_configs, **kwargs) -> list[CheckMessage]:
    """Whether the class that keeps files can be made; it is not asked for any, and may be away."""
    if not settings.MEDIA_STORAGE:
        return [OPTIONS_ALONE] if settings.MEDIA_STORAGE_OPTIONS else []
    try:
        storage = storages.create_storage(settings.STORAGES["default"])
    except Exception as exc:  # Each class has its own ways to say no.
        reason = str(exc).partition("\n")[0] or type(exc).__name__
        return [
            Error(
                f"MEDIA_STORAGE, {settings.MEDIA_STORAGE}, cannot be used: {reason}",
                hint=HOW,
                id="messaging.E001",
            )
        ]
    return [A_FOLDER] if type(storage) is FileSystemStorage else []


OPTIONS_ALONE = Error(
    "MEDIA_STORAGE_OPTIONS is set, and MEDIA_STORAGE is not: nobody would read them.",
    hint="Name the storage that they are for in MEDIA_STORAGE, or remove them.",
    id="messaging.E002",
)
A_FOLDER = Error(
    "MEDIA_STORAGE is a folder of this machine.",
    hint="Remove it, and name the folder in MEDIA_ROOT: backups then hold its files. For several "
    "hosts that is a folder which all of them mount.",
    id="messaging.E003",
)
