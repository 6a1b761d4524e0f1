"""What the errors of messages mean, and what to do about them, for the team."""

from accounts import instagram_errors

from . import outcomes
from .models import Message

NOTHING_TO_DO = "Nothing needs to be done here."
WHAT_TO_DO = (
    # How the text begins, what it means, what to do; the first that fits.
    (
        outcomes.NOT_CONFIRMED,
        "Instagram was asked, and its answer was lost on the way. It is not sent again by itself: "
        "the customer might get it twice.",
        "Look in the Instagram app whether it is there, then press one of the two buttons below "
        "the message.",
    ),
    (
        outcomes.NOT_FOUND,
        "Instagram was asked twice: its answer was lost on the way, and later the conversation "
        "did not hold the message.",
        "If it is not in the Instagram app either, press “It did not arrive”, then write it again.",
    ),
    (
        Message.NOT_ARRIVED,
        "Somebody of your team looked in the Instagram app and did not find it.",
        "Write it again, if it still matters.",
    ),
    (
        "Given up",
        "The account could not send for so long that the customer no longer expects an answer.",
        "Mend the connection, then write again once the customer has written.",
    ),
    (
        instagram_errors.NO_HUMAN_AGENT,
        "Between 24 hours and 7 days Instagram takes only what a person writes, from an app that "
        "Meta has reviewed for it.",
        "Wait until the customer writes again, or answer in the Instagram app. Whoever runs this "
        "site can request “Human Agent” in the Meta app's review.",
    ),
    (
        instagram_errors.WINDOW_CLOSED,
        "Instagram lets a shop answer for 24 hours after the customer has written.",
        "Wait until the customer writes again.",
    ),
    (
        "Another app is in charge",
        "Instagram lets one app at a time answer in a conversation.",
        "Answer in that app, or choose this one in Instagram: Settings → Messages and story "
        "replies → Message controls → Connected tools.",
    ),
    (
        "This comment",
        "A comment can be answered once, within 7 days, and while it is there.",
        NOTHING_TO_DO,
    ),
    (
        "The customer has not agreed",
        "It concerns this one customer; the account is well.",
        "Answer in the Instagram app.",
    ),
    (
        "The customer has blocked",
        "It concerns this one customer; the account is well.",
        NOTHING_TO_DO,
    ),
    (
        "This customer",
        "It concerns this one customer; the account is well.",
        "Try again later, should it matter.",
    ),
    (
        "Instagram does not know this customer",
        "The account of the customer was closed, or never wrote to this one.",
        NOTHING_TO_DO,
    ),
    (
        "Instagram refuses the text",
        "One message takes at most 1,000 bytes.",
        "Send it in two parts.",
    ),
    (
        "Instagram says that the file is too large",
        "Instagram takes pictures up to 8 MB, and videos, sound and PDF up to 25 MB.",
        "Send a smaller one.",
    ),
    (
        "Instagram says that the file",
        "Instagram looked into the file, and it is of another kind than it seems.",
        "Save it anew as JPEG, PNG, MP4 or PDF, and send that.",
    ),
    (
        "Instagram no longer has the file",
        "Instagram keeps a file that was handed over for some time only.",
        "Send it once more.",
    ),
    (
        "Instagram could not fetch the file",
        "Instagram fetches what is sent from this site's public address, and did not get it.",
        "Whoever runs this site opens PUBLIC_BASE_URL from outside: it has to answer there.",
    ),
    (
        "Instagram did not get the video",
        "Instagram fetches what is sent, and takes 75 seconds for a video at most.",
        "Send a shorter or smaller video.",
    ),
    (
        "Instagram says that this was sent already",
        "Instagram takes it for a copy of one before.",
        "Look in the Instagram app whether it is there.",
    ),
    (
        "Instagram cannot process the link",
        "Instagram does not take the link in the text.",
        "Send it without the link, or with another one.",
    ),
    (
        "Trying again",
        "Instagram was out of reach, or asked to slow down.",
        "Nothing: the message goes out by itself. If it stays so for an hour, tell the person who "
        "runs this site.",
    ),
    (
        "Waiting",
        "The message waits until the account can send again.",
        "Mend the connection, as said above; then it goes out by itself.",
    ),
    (
        "",
        "Instagram refused this one message.",
        "Read in the conversation what it was. If others fail as well, show this text to the "
        "person who runs this site.",
    ),
)


def explain(error: str) -> tuple[str, str]:
    """What the error of a message means, and what to do."""
    return next((means, todo) for start, means, todo in WHAT_TO_DO if error.startswith(start))
