import uuid

from django.db import models

from crypto.fields import EncryptedTextField


class Shop(models.Model):
    """Its key counts."""

    name = models.CharField(max_length=50)
    api_key = EncryptedTextField(null=True)

    def __str__(self) -> str:
        return self.name


class Vault(models.Model):
    """Its key is random, and its column is not called as its field."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=50)
    opened_at = models.DateTimeField(null=True)
    code = EncryptedTextField(null=True, db_column="sealed code", clears=("opened_at",))

    def __str__(self) -> str:
        return self.name
