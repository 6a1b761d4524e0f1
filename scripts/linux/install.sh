#!/bin/sh
# Sets InstaMsg up for development on Linux or macOS: packages, .env, database, first user.
# For a server there is provision.sh.
set -eu
cd "$(dirname "$0")/../.."

python3 scripts/start.py --setup-only "$@"
echo "InstaMsg is set up. Start it with: python3 scripts/start.py"
