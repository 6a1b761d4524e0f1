from django.urls import path, re_path

from . import account_views, endpoint_views, media_views, views

ENDPOINT = "accounts/<slug:pk>/forwarding/<slug:endpoint_id>"

urlpatterns = [
    path("", views.inbox, name="inbox"),
    path("updates", views.inbox_updates, name="inbox_updates"),
    path("conversations/<int:pk>/", views.conversation, name="conversation"),
    path("conversations/<int:pk>/reply", views.reply, name="reply"),
    path("conversations/<int:pk>/updates", views.conversation_updates, name="conversation_updates"),
    re_path(
        r"^messages/(?P<public_id>msg_\w+)/(?P<outcome>arrived|not-arrived)$",
        views.mark,
        name="mark",
    ),
    path("accounts/<slug:pk>/health", account_views.health, name="account_health"),
    path("accounts/<slug:pk>/history", account_views.look_for_missed, name="look_for_missed"),
    path("accounts/<slug:pk>/delete", account_views.delete, name="account_delete"),
    path("accounts/<slug:pk>/forwarding/", endpoint_views.endpoint_list, name="endpoint_list"),
    path(f"{ENDPOINT}/", endpoint_views.endpoint, name="endpoint"),
    path(f"{ENDPOINT}/enable", endpoint_views.enable, name="endpoint_enable"),
    path(f"{ENDPOINT}/disable", endpoint_views.disable, name="endpoint_disable"),
    path(f"{ENDPOINT}/rotate", endpoint_views.rotate, name="endpoint_rotate"),
    path(f"{ENDPOINT}/end-overlap", endpoint_views.end_overlap, name="endpoint_end_overlap"),
    path(f"{ENDPOINT}/test", endpoint_views.test, name="endpoint_test"),
    path(f"{ENDPOINT}/delete", endpoint_views.delete, name="endpoint_delete"),
    path(f"{ENDPOINT}/replay", endpoint_views.replay, name="endpoint_replay"),
    path(f"{ENDPOINT}/deliveries/", endpoint_views.deliveries, name="deliveries"),
    path(f"{ENDPOINT}/deliveries/<slug:delivery_id>/", endpoint_views.delivery, name="delivery"),
    path(
        f"{ENDPOINT}/deliveries/<slug:delivery_id>/replay",
        endpoint_views.replay_one,
        name="delivery_replay",
    ),
    path("conversations/<int:pk>/picture", media_views.picture, name="picture"),
    path("media/<slug:public_id>", media_views.attachment, name="media"),
    path("media/<slug:public_id>/again", media_views.try_again, name="media_again"),
    path("webhooks/instagram", views.webhook, name="webhook"),
]
