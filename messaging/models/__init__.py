"""The tables of messaging, by what they are about."""

from .conversations import PERSON_WANTED, Conversation
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
from .messages import Message, new_message_id
from .outbox import SenderAction, SendingPace
from .rules import Rule, RuleSettings, settings_of
from .watching import Sighting, Tally

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
    "Rule",
    "RuleSettings",
    "SecretUnreadable",
    "SenderAction",
    "SendingPace",
    "Sighting",
    "State",
    "Tally",
    "WebhookEvent",
    # The migrations name these.
    "new_attachment_id",
    "new_endpoint_id",
    "new_event_id",
    "new_message_id",
    "settings_of",
]
