"""A model field whose value stays ciphertext until somebody says `reveal`."""

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.checks import Error
from django.core.exceptions import FieldError
from django.db import models
from django.db.models.query_utils import DeferredAttribute

from .keyring import get_keyring
from .models import Secret

MARK = "sealed:"
"""Goes before ciphertext in serialized data, so that loading it does not encrypt it again."""


class Sealed:
    """Ciphertext as it stands in the column; prints as <sealed> and compares by identity.

    `is_fresh` says that this process encrypted it, rather than found it somewhere.
    """

    __slots__ = ("ciphertext", "is_fresh")

    def __init__(self, ciphertext: str, *, is_fresh: bool = False):
        self.ciphertext, self.is_fresh = ciphertext, is_fresh

    def __repr__(self) -> str:
        return "<sealed>"

    def reveal(self) -> str:
        """The plain text. Raises DecryptionError when no key on the ring opens it."""
        return get_keyring().decrypt(self.ciphertext)


class SealedAttribute(DeferredAttribute):
    """Seals what is assigned: plain text never rests on the model instance."""

    def __set__(self, instance: models.Model, value: str | Sealed | None) -> None:
        instance.__dict__[self.field.attname] = self.field.seal(value)


class EncryptedTextField(models.TextField):
    """Text stored as plain Fernet ciphertext, without prefix or wrapper.

    Reading the attribute gives a `Sealed`; assigning a string encrypts it under the primary
    key. `clears` names the fields of the same row that lose their meaning with the value and
    are set to NULL together with it. The only lookup is `isnull`. Saving a row never puts back
    the value that was loaded with it. Writing a new one raises SupersededSecret when this
    process runs a retired secret.
    """

    descriptor_class = SealedAttribute
    empty_strings_allowed = False

    def __init__(self, *args: Any, clears: tuple[str, ...] = (), **kwargs: Any):
        self.clears = tuple(clears)
        kwargs["editable"] = False  # Forms and model_to_dict leave it out.
        super().__init__(*args, **kwargs)

    def check(self, **kwargs):
        errors = super().check(**kwargs)
        if not self.null:
            errors.append(
                Error(
                    "An EncryptedTextField must allow NULL.",
                    hint="When the secret is lost, the value is cleared. Set null=True.",
                    obj=self,
                    id="crypto.E005",
                )
            )
        return errors

    def deconstruct(self):
        name, path, args, kwargs = super().deconstruct()
        del kwargs["editable"]
        if self.clears:
            kwargs["clears"] = self.clears
        return name, path, args, kwargs

    def seal(self, value: str | Sealed | None) -> Any:
        """`value` as it may stand on an instance.

        Raises ValueError for empty text, TypeError for what is neither text nor sealed.
        """
        if value == "":
            raise ValueError(f"{self.name}: an empty text is no secret; assign None to clear it.")
        if isinstance(value, str):
            return Sealed(get_keyring().encrypt(value), is_fresh=True)
        if value is None or isinstance(value, Sealed) or hasattr(value, "resolve_expression"):
            return value
        raise TypeError(f"{self.name} takes text or None, not {type(value).__name__}.")

    def select_format(self, compiler, sql, params):
        # What SQLite holds as text may be no UTF-8, and reading that as text is an error.
        if compiler.connection.vendor == "sqlite":
            sql = f"CAST({sql} AS BLOB)"
        return sql, params

    def from_db_value(self, value, expression, connection):
        if isinstance(value, bytes):
            value = value.decode(errors="replace")  # Nothing opens it; it is never written back.
        return None if value is None else Sealed(value)

    def to_python(self, value):
        # Serialized data comes through here, once, on its way to the instance.
        if isinstance(value, str) and value.startswith(MARK):
            return Sealed(value.removeprefix(MARK))
        return value

    def get_prep_value(self, value):
        value = self.seal(value)
        return value.ciphertext if isinstance(value, Sealed) else value

    def pre_save(self, model_instance, add):
        value = super().pre_save(model_instance, add)
        if isinstance(value, Sealed) and not value.is_fresh and not add:
            # A rotation may have replaced it since it was read: that one stays.
            return models.F(self.attname)
        return value

    def get_db_prep_save(self, value, connection):
        value = self.seal(value)
        if isinstance(value, Sealed) and value.is_fresh:
            ring = get_keyring()
            key = Secret.objects.using(connection.alias).note_use(ring, anything_is_stored)
            if key is not ring.primary:  # It was rotated past this process, which holds both.
                plain = ring.open(value.ciphertext)[1]
                value = Sealed(key.fernet.encrypt(plain).decode(), is_fresh=True)
        return super().get_db_prep_save(value, connection)

    def value_to_string(self, obj):
        value = self.value_from_object(obj)
        return None if value is None else f"{MARK}{value.ciphertext}"

    def get_lookup(self, lookup_name):
        if lookup_name == "isnull":
            return super().get_lookup(lookup_name)
        raise FieldError(
            f"{self.name} is encrypted: the same text never gives the same ciphertext, so only "
            f"isnull can be asked of it, not {lookup_name}."
        )

    def get_transform(self, lookup_name):
        self.get_lookup(lookup_name)  # Raises.


def encrypted_fields() -> Iterator[EncryptedTextField]:
    """Every encrypted column of every installed app, found by class."""
    for model in apps.get_models():
        for field in model._meta.local_concrete_fields:
            if isinstance(field, EncryptedTextField) and not model._meta.proxy:
                yield field


def count_stored_values() -> int:
    """How many encrypted values the database holds. Raises the database's error without it."""
    return sum(_stored(field).count() for field in encrypted_fields())


def holders() -> list[tuple[type[models.Model], str, int]]:
    """Each model of which rows hold encrypted values, what they hold in a word, and how many."""
    fields: dict[type[models.Model], list[EncryptedTextField]] = {}
    for field in encrypted_fields():
        fields.setdefault(field.model, []).append(field)
    found = []
    for model, its in fields.items():
        empty = models.Q(**{f"{field.name}__isnull": True for field in its})
        if count := model._base_manager.exclude(empty).count():
            found.append((model, its[0].name.rpartition("_")[2], count))
    return found


def anything_is_stored() -> bool:
    return any(_stored(field).exists() for field in encrypted_fields())


def _stored(field: EncryptedTextField) -> models.QuerySet:
    return field.model._base_manager.exclude(**{f"{field.name}__isnull": True})
