# Start of a slave in a container: its configuration comes from MASTER, NAME and PASSWORD at each start.
set -eu
base=$1
: "${MASTER:?is missing: HOST:PORT of the master}" "${NAME:?is missing: the name that the master knows}"
: "${PASSWORD:?is missing: the password of that name}"
slaveproto create-slave --quiet --force --password-environment PASSWORD "$base" "$MASTER" "$NAME"
exec slaveproto slave "$base"
