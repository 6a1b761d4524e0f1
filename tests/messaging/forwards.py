"""What the tests of forwarding share: endpoints, deliveries, and time that passes."""

from datetime import timedelta
from itertools import count

from django.utils import timezone

from messaging import crm_events, endpoints, forwarding
from messaging.models import Conversation, CrmEndpoint, Delivery, EventType, Message

numbers = count()


def endpoint_to(account, receiver, events=()):
    endpoint, secret = endpoints.add(account, receiver.url, events)
    endpoint.plain = secret
    return endpoint


def say(conversation, text="Hello", **fields):
    """A message from the customer, told to whoever listens."""
    message = Message.objects.create(
        account=conversation.account, conversation=conversation, direction="in",
        status="received", mid=(mid := f"mid.{next(numbers)}"), mid_digest=mid.encode().ljust(16),
        text=text, timestamp=timezone.now(), due_at=None, **fields,
    )  # fmt: skip
    crm_events.tell([crm_events.came(message)])
    return message


def tell_read(conversation):
    crm_events.tell([crm_events.News(EventType.READ, conversation, at=timezone.now())])


def another(conversation, igsid):
    return Conversation.objects.create(
        account=conversation.account, igsid=igsid, last_message_at=timezone.now()
    )


def pass_time():
    """Whatever waits for its time may be tried now."""
    now = timezone.now()
    Delivery.objects.filter(due_at__gt=now).update(due_at=now)
    CrmEndpoint.objects.update(paused_until=None)


def forward():
    forwarding.forward.run()


def waits(delivery):
    """Seconds until it is tried again."""
    delivery.refresh_from_db()
    return (delivery.due_at - timezone.now()) / timedelta(seconds=1)
