from django.urls import path, re_path

from . import account_views, endpoint_views, media_views, rule_views, setup_views, views

ENDPOINT = "accounts/<slug:pk>/forwarding/<slug:endpoint_id>"

urlpatterns = [
    path("", views.inbox, name="inbox"),
    path("updates", views.inbox_updates, name="inbox_updates"),
    path("conversations/<int:pk>/", views.conversation, name="conversation"),
    path("conversations/<int:pk>/reply", views.reply, name="reply"),
    path("conversations/<int:pk>/updates", views.conversation_updates, name="conversation_updates"),
    path("conversations/<int:pk>/typing", views.typing, name="typing"),
    path("messages/<slug:public_id>/reaction", views.react, name="react"),
    re_path(
        r"^messages/(?P<public_id>msg_\w+)/(?P<outcome>arrived|not-arrived)$",
        views.mark,
        name="mark",
    ),
    path("accounts/<slug:pk>/health", account_views.health, name="account_health"),
    path("accounts/<slug:pk>/history", account_views.look_for_missed, name="look_for_missed"),
    path("accounts/<slug:pk>/delete", account_views.delete, name="account_delete"),
    path("accounts/<slug:pk>/rules", rule_views.rules, name="rules"),
    path("accounts/<slug:pk>/rules/new", rule_views.add, name="rule_add"),
    path("accounts/<slug:pk>/rules/settings", rule_views.settings, name="rule_settings"),
    path("rules/<int:pk>/", rule_views.edit, name="rule"),
    path("rules/<int:pk>/delete", rule_views.delete, name="rule_delete"),
    re_path(r"^rules/(?P<pk>\d{1,18})/(?P<state>on|off)$", rule_views.switch, name="rule_switch"),
    re_path(r"^rules/(?P<pk>\d{1,18})/(?P<direction>up|down)$", rule_views.move, name="rule_move"),
    re_path(
        r"^conversations/(?P<pk>\d{1,18})/automation/(?P<state>on|paused)$",
        rule_views.in_conversation,
        name="automation",
    ),
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
    path("media/offered/<str:token>", media_views.offered, name="offered_media"),
    path("media/<slug:public_id>", media_views.attachment, name="media"),
    path("media/<slug:public_id>/again", media_views.try_again, name="media_again"),
    path("setup/", setup_views.setup, name="setup"),
    path("setup/verify-token", setup_views.verify_token, name="setup_verify_token"),
    path("webhooks/instagram", views.webhook, name="webhook"),
]
