"""An offline Instagram: the platform's HTTP, a phone to play the customer on, and a control API.

Standard library only, and nothing of the rest of the project: the client is tested against a
second reading of the wire, not against itself.
"""
