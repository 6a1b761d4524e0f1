"""What is stored of a value that only its bearer should know."""

import hashlib


def digest(text: str) -> str:
    """SHA-256 in hex: what is stored of a random value that only its bearer should know."""
    return hashlib.sha256(text.encode()).hexdigest()
