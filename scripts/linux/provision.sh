#!/usr/bin/env bash
# Installs InstaMsg on a server (Debian 12, Ubuntu 24.04 or newer), or upgrades it.
#
#   sudo scripts/linux/provision.sh --url https://dm.example.com --app-id 990000000000001
#
# The first run asks for the Instagram app secret, or takes it from INSTAGRAM_APP_SECRET, and uses
# SQLite unless DATABASE_URL names a PostgreSQL database. Settings that stand in
# /etc/insta-messaging/env already, from an earlier run or by hand, are kept as they are.
# Run again it does what is left to do; from a newer clone, with a backup first, it upgrades.
# Everything else: docs/install.md.
set -euo pipefail
umask 022
export PATH="$PATH:/usr/sbin:/sbin"

readonly NAME=insta-messaging
readonly CODE_FOLDER=/opt/$NAME DATA_FOLDER=/var/lib/$NAME BACKUPS=/var/backups/$NAME
readonly CURRENT=$CODE_FOLDER/current SETTINGS=/etc/$NAME/env UNITS=/etc/systemd/system
readonly CODE=(accounts crypto instamsg messaging templates scripts deploy docs
    manage.py requirements.txt pyproject.toml .env.example README.md CHANGELOG.md LICENSE)

source_folder=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
url="" app_id="" port="" may_start=yes
former="" # The release that was there before,
tables="" # and how far its database was migrated.
changes=0

main() {
    read_options "$@"
    require_a_fitting_machine
    exec 9>"/run/$NAME-provision.lock" # One at a time.
    flock --nonblock 9 || refuse "Another run of this script is under way."
    ask_what_is_missing

    install_packages
    make_user_and_folders
    complete_settings
    local release
    release=$CODE_FOLDER/releases/$(release_id)
    if [ "$(readlink "$CURRENT" || true)" != "$release" ]; then
        build "$release"
        switch_to "$release"
    fi
    install_files
    start
    if [ "$changes" = 0 ]; then echo "Nothing to change: $(basename "$release") is installed."; fi
}

read_options() {
    while [ $# -gt 0 ]; do
        case $1 in
            --url) url=${2-}; shift ;;
            --app-id) app_id=${2-}; shift ;;
            --port) port=${2-}; shift ;;
            --no-start) may_start=no ;;
            --help | -h) usage; exit 0 ;;
            *) usage >&2; exit 2 ;;
        esac
        shift || { usage >&2; exit 2; } # The last option lacks its value.
    done
}

usage() {
    cat <<END
sudo scripts/linux/provision.sh [--url https://HOST] [--app-id ID] [--port N] [--no-start]

  --url       the address people will use; needed the first time
  --app-id    the Instagram app id of the Meta dashboard; needed the first time
  --port      the port on 127.0.0.1 for the reverse proxy (8000); the first time only
  --no-start  install everything, and leave starting to you

Secrets are no options: others could read them in the list of processes. The app secret is asked
for, or taken from the environment: INSTAGRAM_APP_SECRET; so is DATABASE_URL, for PostgreSQL.
END
}

# --- Before anything is changed --------------------------------------------------------------

require_a_fitting_machine() {
    [ "$(id -u)" = 0 ] || refuse "This needs root: sudo $0 …"
    command -v apt-get >/dev/null ||
        refuse "This script knows Debian and Ubuntu. For other systems docs/install.md has containers."
    if command -v python3 >/dev/null; then
        python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
            refuse "InstaMsg needs Python 3.11 or newer; this is $(python3 --version)."
    fi
}

# For a first installation: each value that nobody but the operator knows, checked.
ask_what_is_missing() {
    if as_owner test -e "$SETTINGS" && ! as_owner test -r "$SETTINGS"; then
        refuse "The site's user cannot read $SETTINGS. It has to be a file of that user's own, and no" \
            "link: chown --no-dereference $NAME: $SETTINGS"
    fi
    if [ -e "$CURRENT" ] && ! is_set SESSION_SECRET; then
        refuse "SESSION_SECRET is not in $SETTINGS any more. A new one would open nothing that is" \
            "stored: bring the old one back (docs/session-secret.md, It is lost)."
    fi
    must_agree PUBLIC_BASE_URL "$url" --url
    must_agree INSTAGRAM_APP_ID "$app_id" --app-id
    must_agree PORT "$port" --port
    if ! is_set PUBLIC_BASE_URL && ! [[ $url =~ ^https://[A-Za-z0-9.-]+(:[0-9]+)?/?$ ]]; then
        refuse "Which address will people use? Say --url https://HOST: Instagram delivers to https only."
    fi
    if ! is_set INSTAGRAM_APP_ID && ! [[ $app_id =~ ^[0-9]+$ ]]; then
        refuse "Say --app-id ID: the Meta dashboard shows it under Instagram → API setup (digits only)."
    fi
    if [ -n "$port" ] && ! [[ $port =~ ^[1-9][0-9]{0,4}$ ]]; then refuse "--port $port is not a port."; fi
    if ! is_set INSTAGRAM_APP_SECRET && [ -z "${INSTAGRAM_APP_SECRET-}" ]; then
        [ -t 0 ] || refuse "Nobody can be asked for the Instagram app secret here: set INSTAGRAM_APP_SECRET."
        read -rsp "Instagram app secret (it is not shown): " INSTAGRAM_APP_SECRET
        echo
        [ -n "$INSTAGRAM_APP_SECRET" ] || refuse "Without the app secret no webhook can be checked."
    fi
}

# must_agree NAME VALUE OPTION: an option does not quietly lose against the settings.
must_agree() {
    local there
    there=$(setting "$1")
    if [ -n "$2" ] && is_set "$1" && [ "${2%/}" != "${there%/}" ]; then
        refuse "$1 is $there in $SETTINGS. To change it, edit that file and run: systemctl restart $NAME"
    fi
}

# --- What it consists of ----------------------------------------------------------------------

install_packages() {
    local wanted=(python3 python3-venv tzdata) missing=() package
    case $(setting DATABASE_URL)${DATABASE_URL-} in
        postgres*) wanted+=(postgresql-client) ;; # pg_dump, for backups
    esac
    for package in "${wanted[@]}"; do
        [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
            missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    export DEBIAN_FRONTEND=noninteractive
    apt-get --quiet=2 update
    apt-get --quiet=2 install --yes --no-install-recommends "${missing[@]}" >/dev/null
    changed "Installed the packages ${missing[*]}"
}

make_user_and_folders() {
    if ! getent passwd "$NAME" >/dev/null; then
        useradd --system --user-group --home-dir "$DATA_FOLDER" --no-create-home \
            --shell /usr/sbin/nologin "$NAME"
        changed "Made the user $NAME"
    fi
    mkdir --parents "$CODE_FOLDER/releases"
    # The settings are the site's own: its commands exchange the secret in them. The service itself
    # sees all of /etc read-only.
    make_own_folder 0700 "$(dirname "$SETTINGS")"
    make_own_folder 0700 "$BACKUPS"
    make_own_folder 0750 "$DATA_FOLDER"
}

make_own_folder() {
    [ "$(stat --format %U "$2" 2>/dev/null || true)" != "$NAME" ] || return 0
    install --directory --mode "$1" --owner "$NAME" --group "$NAME" "$2"
    chown --recursive --no-dereference "$NAME:$NAME" "$2" # What the operator laid there beforehand.
}

# Adds what is missing; a line that is there stays. Whole or not at all, for the site's eyes only.
complete_settings() {
    local lines="" new
    add ENVIRONMENT production
    add PUBLIC_BASE_URL "${url%/}"
    add PORT "${port:-8000}"
    add TRUSTED_PROXIES 127.0.0.1
    add SESSION_SECRET "$(random_secret)"
    add INSTAGRAM_APP_ID "$app_id"
    add INSTAGRAM_APP_SECRET "${INSTAGRAM_APP_SECRET-}"
    add INSTAGRAM_VERIFY_TOKEN "$(random_secret)"
    if ! is_set DATABASE_URL && [ -z "${DATABASE_URL-}" ]; then
        add TASK_QUEUE_URL "sqlite:///$DATA_FOLDER/task_queue.db"
    fi
    add DATABASE_URL "${DATABASE_URL:-sqlite:///$DATA_FOLDER/instagram_automation.db}"
    add MEDIA_ROOT "$DATA_FOLDER/media"
    [ -n "$lines" ] || return 0
    new=$(as_owner mktemp "$SETTINGS.XXXXXX")
    {
        if as_owner test -f "$SETTINGS"; then
            as_owner cat "$SETTINGS"
            [ -z "$(as_owner tail --bytes 1 "$SETTINGS")" ] || echo # The end of its last line.
        else
            echo "# Made by provision.sh. Every setting is explained in $CURRENT/.env.example."
        fi
        printf '%s' "$lines"
    } | as_owner tee "$new" >/dev/null
    as_owner mv --no-target-directory "$new" "$SETTINGS"
    changed "Wrote what was missing into $SETTINGS"
}

add() {
    is_set "$1" || lines+="$1=$2"$'\n'
}

random_secret() {
    python3 -c 'import secrets; print(secrets.token_urlsafe(32))'
}

# --- The code: one folder for each release, with its packages; `current` leads to one ----------

# The version and a digest of all that makes a difference: the code, and the Python it is for.
release_id() {
    local version digest
    version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$source_folder/pyproject.toml")
    digest=$(cd "$source_folder" && { python3 --version; digests; } | sha256sum | cut --bytes=-12)
    echo "$version-$digest"
}

digests() {
    find "${CODE[@]}" -type f -not -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
}

build() {
    if [ -e "$1/.complete" ]; then return; fi
    echo "Building $(basename "$1"); installing its packages takes a minute or two."
    rm -rf "$1" # What an interrupted run left.
    mkdir "$1"
    tar --create --directory "$source_folder" --exclude __pycache__ "${CODE[@]}" |
        tar --extract --directory "$1" --no-same-owner --no-same-permissions
    (cd "$1" && python3 -I scripts/_venv.py >/dev/null)
    python3 -m compileall -q "$1"/{accounts,crypto,instamsg,messaging,scripts}
    # The one part that the site's own user makes; the service itself cannot write there.
    install --directory --owner "$NAME" --group "$NAME" "$1/staticfiles"
    touch "$1/.complete"
}

switch_to() {
    # It refuses before the former one is stopped.
    as_site "$1" scripts/_site.py look >/dev/null
    former=$(readlink "$CURRENT" || true)
    if [ -n "$former" ]; then
        tables=$(migrations "$1")
        stop
        back_up
        trap "go_back_or_explain '$1'" EXIT
    fi
    as_site "$1" scripts/start.py --setup-only
    ln --symbolic --force --no-dereference "$1" "$CURRENT.new"
    mv --no-target-directory "$CURRENT.new" "$CURRENT"
    trap - EXIT
    changed "${former:+Upgraded from $(basename "$former"). }Installed $(basename "$1")"
    remove_old_releases "$1"
}

# Before the backup: what arrives after it would be lost on the way back. Meta delivers again.
stop() {
    if has_systemd; then
        systemctl stop "$NAME"
    elif answers; then
        refuse "The site runs, and there is no systemd to stop it. Stop web and worker, then run this again."
    fi
}

# By the code that knows the database as it is now.
back_up() {
    if as_site "$former" manage.py backup --backup-dir "$BACKUPS"; then return; fi
    start_former
    refuse "There is no backup, so nothing was upgraded; the reason stands above."
}

# Every migration that this release knows, and whether it was applied.
migrations() {
    as_site "$1" manage.py showmigrations --list
}

# The former release fits the database as long as nothing was migrated.
go_back_or_explain() {
    trap - EXIT
    if [ "$(migrations "$1")" = "$tables" ]; then
        start_former
        refuse "
The upgrade stopped; the reason stands above. The database is as it was, and the site stays with
$(basename "$former"). Run this script again once the reason is mended."
    fi
    refuse "
The upgrade stopped; the reason stands above. The database may be migrated in part, so the site is
stopped; its code is still $(basename "$former"), which must not run on such a database.
The backup from before is the newest in $BACKUPS.
Run this script again once the reason is mended, or go back: docs/install.md, Going back."
}

start_former() {
    if has_systemd; then systemctl start "$NAME"; else echo "Start web and worker again." >&2; fi
}

remove_old_releases() {
    local folder
    for folder in "$CODE_FOLDER"/releases/*; do
        case $folder in "$1" | "$former") ;; *) rm -rf "$folder" ;; esac
    done
}

# as_site RELEASE PROGRAM …: as the site's user, who gets nothing of our environment.
as_site() {
    local release=$1
    shift
    (cd "$release" && umask 077 && runuser -u "$NAME" -- env -i PATH="$PATH" LANG=C.UTF-8 HOME="$DATA_FOLDER" \
        ENV_FILE="$SETTINGS" PYTHONDONTWRITEBYTECODE=1 .venv/bin/python "$@")
}

# --- The service ------------------------------------------------------------------------------

install_files() {
    local file
    mkdir --parents "$UNITS"
    for file in "$CURRENT"/deploy/systemd/*; do
        install_file 0644 "$file" "$UNITS/$(basename "$file")"
    done
    install_file 0755 "$CURRENT/deploy/$NAME" "/usr/local/bin/$NAME"
}

install_file() {
    if cmp --silent "$2" "$3"; then return; fi
    install --mode "$1" "$2" "$3"
    changed "Installed $3"
}

start() {
    if [ "$may_start" = no ] || ! has_systemd; then
        if [ "$changes" != 0 ]; then explain_how_to_start; fi
        return
    fi
    systemctl daemon-reload
    local unit
    for unit in "$NAME" "$NAME-worker" "$NAME-backup.timer"; do
        systemctl is-enabled --quiet "$unit" || { systemctl enable --quiet "$unit"; changed "Enabled $unit"; }
    done
    runs "$NAME-backup.timer" || systemctl start "$NAME-backup.timer"
    if [ "$changes" != 0 ] || ! runs "$NAME" || ! runs "$NAME-worker"; then
        systemctl restart "$NAME"
        changed "Started the site"
    fi
    local second
    for second in {1..30}; do
        if answers; then return; fi
        sleep 1
    done
    refuse "The site does not answer after $second seconds. What it says: journalctl -u $NAME"
}

explain_how_to_start() {
    echo "Not started. With systemd: systemctl enable --now $NAME $NAME-worker $NAME-backup.timer"
    echo "Without: as the user $NAME, in $CURRENT, with ENV_FILE=$SETTINGS in the environment, run"
    sed -n 's/^ExecStart=/  /p' "$UNITS/$NAME.service" "$UNITS/$NAME-worker.service"
}

# --- Small questions --------------------------------------------------------------------------

has_systemd() {
    [ -d /run/systemd/system ]
}

runs() {
    systemctl is-active --quiet "$1"
}

answers() {
    python3 - "$(setting PORT)" <<'END' 2>/dev/null
import sys, urllib.request
urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1] or 8000}/livez", timeout=2)
END
}

# There is a line for it, or for the file that holds it.
is_set() {
    as_owner grep --quiet --no-messages --extended-regexp "^(export )?$1(_FILE)?=" "$SETTINGS"
}

setting() {
    if as_owner test -f "$SETTINGS"; then
        as_owner sed --silent "s/^\(export \)\?$1=//p" "$SETTINGS" | tail --lines 1
    fi
}

# as_owner PROGRAM …: as whoever owns the folder of the settings. A link that the site's user laid
# there would lead root to files of others; that user it leads nowhere new.
as_owner() {
    local ids user group
    ids=$(stat --format "%u %g" "$(dirname "$SETTINGS")" 2>/dev/null || echo 0 0)
    read -r user group <<<"$ids" # Numbers: the user may have been deleted.
    if [ "$user" = 0 ]; then
        "$@"
    else
        setpriv --reuid "$user" --regid "$group" --clear-groups env -i PATH="$PATH" LANG=C.UTF-8 "$@"
    fi
}

changed() {
    echo "$*."
    changes=$((changes + 1))
}

refuse() {
    echo "$*" >&2
    exit 1
}

main "$@"
