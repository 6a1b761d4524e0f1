from django.contrib.auth import views as auth
from django.urls import path

from . import key_views, views

urlpatterns = [
    path("login", auth.LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout", auth.LogoutView.as_view(), name="logout"),
    path("password/change", auth.PasswordChangeView.as_view(), name="password_change"),
    path(
        "password/change/done", auth.PasswordChangeDoneView.as_view(), name="password_change_done"
    ),
    path("password/reset", views.PasswordResetView.as_view(), name="password_reset"),
    path("password/reset/sent", auth.PasswordResetDoneView.as_view(), name="password_reset_done"),
    path(
        "password/reset/<uidb64>/<token>",
        auth.PasswordResetConfirmView.as_view(),
        name="password_reset_confirm",
    ),
    path(
        "password/reset/done",
        auth.PasswordResetCompleteView.as_view(),
        name="password_reset_complete",
    ),
    path("accounts/", views.account_list, name="account_list"),
    path("accounts/connect", views.connect, name="connect"),
    path("accounts/invitation", views.invitation, name="invitation"),
    path("accounts/invitations/<slug:secret>", views.invitation_link, name="invitation_link"),
    path("accounts/keys", key_views.keys, name="api_keys"),
    path("accounts/keys/<int:pk>/revoke", key_views.revoke, name="api_key_revoke"),
    path("accounts/<slug:pk>/", views.account, name="account"),
    path("accounts/<slug:pk>/reconnect", views.connect, name="reconnect"),
    path("accounts/<slug:pk>/subscribe", views.subscribe, name="subscribe"),
    path("accounts/<slug:pk>/disconnect", views.disconnect, name="disconnect"),
    path("accounts/<slug:pk>/leave", views.leave, name="leave"),
    path("accounts/<slug:pk>/invite", views.invite, name="invite"),
    path("oauth/instagram/callback", views.oauth_callback, name="oauth_callback"),
    path("oauth/instagram/deauthorize", views.deauthorize, name="deauthorize"),
    path("oauth/instagram/data-deletion", views.data_deletion, name="data_deletion"),
    path(
        "oauth/instagram/data-deletion/<slug:code>",
        views.data_deletion_status,
        name="data_deletion_status",
    ),
]
