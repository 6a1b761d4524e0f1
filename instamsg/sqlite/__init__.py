"""Django's engine for SQLite, with another way to wait."""
