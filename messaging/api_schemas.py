"""What the API says of conversations and messages, and in which words.

Ids of Instagram are strings: they exceed what JSON's numbers hold.
"""

import re
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Literal

from django.conf import settings
from django.urls import reverse
from ninja import Field, Schema
from pydantic import AfterValidator, AwareDatetime, BeforeValidator
from pydantic_core import PydanticCustomError

from accounts.api_bodies import Input, Text

from .models import Attachment, Conversation, Message

Status = Message.Status

State = Literal["received", "pending", "sending", "sent", "failed", "unconfirmed"]

STATES: dict[str, State] = {
    Status.RECEIVED: "received",
    Status.QUEUED: "pending",
    Status.SENDING: "sending",
    Status.SENT: "sent",
    Status.FAILED: "failed",
    Status.UNCONFIRMED: "unconfirmed",
}
"""The API's word for each state of a message."""


def _within_our_times(moment: datetime) -> datetime:
    """Databases take no moment that is in another year 1 or 9999 in UTC."""
    return min(max(moment, datetime(2000, 1, 1, tzinfo=UTC)), datetime(2100, 1, 1, tzinfo=UTC))


def _no_number(value: Any) -> Any:
    """Pydantic takes one for the seconds since 1970, or the milliseconds when it is large."""
    if isinstance(value, str) and re.match(r"\d{4}-", value):
        return value
    text = "Give date, time and offset, such as 2026-03-01T09:30:00Z."
    raise PydanticCustomError("moment", text)


Moment = Annotated[AwareDatetime, BeforeValidator(_no_number), AfterValidator(_within_our_times)]
"""A moment that a request names, as RFC 3339 writes it."""


class QuickReply(Input):
    title: Text = Field(min_length=1, max_length=20, examples=["Yes, please"])
    payload: Text = Field(
        "",
        max_length=1000,
        description="Comes back when it is tapped; the title if left out.",
        examples=["ORDER_BLUE"],
    )


class SendError(Schema):
    code: str | None = Field(
        description="Instagram's code, and its subcode; null when it was not Instagram's word.",
        examples=["10/2534022"],
    )
    message: str = Field(alias="error", description="For a person: what happened.")

    @staticmethod
    def resolve_code(message):
        return message.error_code or None


class AttachmentOut(Schema):
    attachment_id: str = Field(alias="public_id", examples=["0f6c3d1f5f0e4a7b8a54c2f3c0d1e2f3"])
    type: str = Field(alias="kind", examples=["image"], description="Instagram's word for it.")
    state: Literal[*Attachment.State.values]
    content_type: str | None = Field(examples=["image/jpeg"])
    url: str | None = Field(
        description="Where the file is, for who may read the message; null while it is not kept."
    )
    link: str | None = Field(description="Where a browser may look at what is not kept here.")
    title: str
    can_be_tried: bool = Field(description="Whether asking for the file once more may help.")

    @staticmethod
    def resolve_content_type(attachment):
        return attachment.content_type or None

    @staticmethod
    def resolve_url(attachment):
        if attachment.state != Attachment.State.STORED:
            return None
        return absolute("attachment", attachment.public_id)

    @staticmethod
    def resolve_link(attachment):
        return attachment.link or None


class Reaction(Schema):
    by: Literal["customer", "account"]
    emoji: str
    at: datetime


class MessageStatus(Schema):
    message_id: str = Field(alias="public_id", examples=["msg_019ac2f4d1e83fb09a6d51c2e07a"])
    status: State = Field(
        description="`pending`: waits to be sent. `unconfirmed`: Instagram gave no answer, so it "
        "may have arrived; it is not sent again by itself."
    )
    account_id: str = Field(examples=["acc_5f0c2a9e41b7"])
    recipient_id: str = Field(examples=["1184527390664218"])
    instagram_message_id: str | None = Field(description="Null as long as it is not known.")
    created_at: datetime
    sent_at: datetime | None = Field(description="Null unless it is known to be sent.")
    delivered_at: None = Field(description="Always null: Instagram does not tell.")
    read_at: datetime | None = Field(
        description="When the customer last read the conversation, if that was after the message."
    )
    error: SendError | None

    @staticmethod
    def resolve_status(message):
        return STATES[message.status]

    @staticmethod
    def resolve_recipient_id(message):
        return _parties(message)[1]

    @staticmethod
    def resolve_instagram_message_id(message):
        return message.mid or None

    @staticmethod
    def resolve_sent_at(message):
        if message.status not in (Status.SENT, Status.RECEIVED):
            return None
        return message.called_at or message.timestamp

    @staticmethod
    def resolve_delivered_at(message):
        return None

    @staticmethod
    def resolve_read_at(message):
        seen_at = message.conversation.seen_at
        is_read = message.status == Status.SENT and seen_at and seen_at >= message.timestamp
        return seen_at if is_read else None

    @staticmethod
    def resolve_error(message):
        return message if message.error else None


class MessageOut(MessageStatus):
    conversation_id: int
    direction: Message.Direction = Field(description="`in`: from the customer.")
    sender_id: str = Field(examples=["17841400000000000"])
    text: str
    timestamp: datetime = Field(description="By Instagram's clock, as soon as that is known.")
    edited_at: datetime | None
    unsent_at: datetime | None = Field(description="Taken back: nothing of what it said is left.")
    attachments: list[AttachmentOut]
    reactions: list[Reaction]
    reaction_error: str | None = Field(description="Why the account's reaction was not sent.")
    reply_to: str | None = Field(description="The instagram_message_id that it answers.")
    story: str | None = Field(description="The story that it answers: its link or its id.")
    payload: str | None = Field(description="Of the button that the customer tapped.")
    referral: dict[str, str] = Field(description="The ad, product or link they came by.")
    quick_replies: list[QuickReply]
    is_from_here: bool = Field(description="False for what was written in the Instagram app.")
    written_by: str | None = Field(description="The user name of who wrote it here.")
    rule_id: int | None = Field(description="The automatic reply that wrote it.")
    human_agent: bool = Field(description="It goes out as written by a person, after 24 hours.")
    change: int = Field(description="Grows with every change in the conversation.")

    @staticmethod
    def resolve_sender_id(message):
        return _parties(message)[0]

    @staticmethod
    def resolve_attachments(message):
        return message.attachments.all()

    @staticmethod
    def resolve_reactions(message):
        customer = message.conversation.igsid
        return [
            {"by": "customer" if side == customer else "account", **one}
            for side, one in message.reactions.items()
            if one["emoji"]
        ]

    @staticmethod
    def resolve_reaction_error(message):
        asked = getattr(message, "reaction_to_send", None)
        return (asked and asked.error) or None

    @staticmethod
    def resolve_reply_to(message):
        return message.context.get("reply_to")

    @staticmethod
    def resolve_story(message):
        return message.context.get("story")

    @staticmethod
    def resolve_payload(message):
        return message.context.get("payload")

    @staticmethod
    def resolve_referral(message):
        return message.context.get("referral", {})

    @staticmethod
    def resolve_written_by(message):
        return message.written_by and message.written_by.get_username()

    @staticmethod
    def resolve_human_agent(message):
        return message.tag == Message.Tag.HUMAN_AGENT


class ConversationOut(Schema):
    conversation_id: int = Field(alias="pk")
    account_id: str = Field(examples=["acc_5f0c2a9e41b7"])
    recipient_id: str = Field(
        alias="igsid",
        examples=["1184527390664218"],
        description="Instagram's id of the customer, for this account only: whom to send to.",
    )
    username: str = Field(examples=["mila.tests"])
    name: str
    picture_url: str | None = Field(description="For who may read the conversation.")
    is_unread: bool
    is_open: bool = Field(description="Whether the account may answer now.")
    window_closes_at: datetime | None
    human_window_closes_at: datetime | None = Field(description="Until then a person may answer.")
    last_message_at: datetime
    last_inbound_at: datetime | None
    seen_at: datetime | None = Field(description="When the customer last read it.")
    referral: dict[str, str] = Field(description="The ad, product or link they came by.")
    automation: Literal[*Conversation.Automation.values] = Field(
        description="Whether automatic replies answer here."
    )
    last_message: MessageOut | None
    change: int = Field(description="Grows with every change in the conversation.")

    @staticmethod
    def resolve_picture_url(conversation):
        return absolute("picture", conversation.pk) if conversation.picture else None


class ConversationList(Schema):
    conversations: list[ConversationOut]
    next: str | None = Field(description="The cursor of the next page; null on the last.")


class MessageList(Schema):
    messages: list[MessageOut]
    next: str | None = Field(description="The cursor of the next page; null on the last.")
    change: int = Field(
        description="Ask with `after` = this number of the first page for what changes from now on."
    )


def absolute(view: str, *args: Any) -> str:
    """The whole address of an operation of the API."""
    return f"{settings.PUBLIC_BASE_URL}{path(view, *args)}"


def path(view: str, *args: Any) -> str:
    """The same without the host. The arguments are ids of ours, which need no quoting."""
    return _path(view, len(args)) % args


@cache
def _path(view: str, args: int) -> str:
    """With %s for each argument: to find it takes longer than all else that an answer holds."""
    return reverse(f"api:{view}", args=["~"] * args).replace("~", "%s")


def _parties(message: Message) -> tuple[str, str]:
    """Who it is from, and whom it is for."""
    conversation: Conversation = message.conversation
    customer, account = conversation.igsid, conversation.account.instagram_account_id
    return (account, customer) if message.is_out else (customer, account)
