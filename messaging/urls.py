from django.urls import path, re_path

from . import views

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
    path("media/<slug:public_id>", views.media, name="media"),
    path("webhooks/instagram", views.webhook, name="webhook"),
]
