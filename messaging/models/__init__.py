"""The tables of messaging, by what they are about."""

from .conversations import (
    PERSON_WANTED,
    Conversation,
    Message,
    new_message_id,
)
from .files import Attachment, FileToDelete, new_attachment_id
from .forwarding import (
    TEST,
    CrmEndpoint,
    Delivery,
    DeliveryAttempt,
    EventType,
    SecretUnreadable,
    new_endpoint_id,
    new_event_id,
)
from .history import HistorySync, MissingMessage
from .ledger import InboundEvent, State, WebhookEvent

__all__ = [
    "PERSON_WANTED",
    "TEST",
    "Attachment",
    "Conversation",
    "CrmEndpoint",
    "Delivery",
    "DeliveryAttempt",
    "EventType",
    "FileToDelete",
    "HistorySync",
    "InboundEvent",
    "Message",
    "MissingMessage",
    "SecretUnreadable",
    "State",
    "WebhookEvent",
    # The migrations name these.
    "new_attachment_id",
    "new_endpoint_id",
    "new_event_id",
    "new_message_id",
]
