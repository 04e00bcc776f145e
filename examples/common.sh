# What the examples share: an instance of their own, a base image, and how they tell what they do.
# To be sourced by a script that has set `here`, `gantry` (the binary) and `number` (which instance of several).
# shellcheck shell=bash disable=SC2154

work=$(mktemp -d "${TMPDIR:-/var/tmp}/gantry-example.XXXXXX")
# The base image is made once and kept; everything else is new each time.
cache=${GANTRY_DEMO_CACHE:-/var/tmp/gantry-demo-cache}
api=${GANTRY_DEMO_API:-127.0.0.1:$((16443 + number))}
unset GANTRY_DEMO_CACHE GANTRY_DEMO_API

# An instance of its own beside any other: other directories, other networks.
flags=(--root "$work/root" --run "$work/run" --api-address "$api" --pod-cidr 10.$((52 + 2 * number)).0.0/16
       --service-cidr 10.$((53 + 2 * number)).0.0/16 --bip 172.$((29 - number)).0.0/16)
# What they show they show on a disk that is nearly full, too.
export GANTRY_EVICTION_HARD="memory.available<100Mi,nodefs.available<1Mi"
export DOCKER_HOST="unix://$work/run/docker.sock" KUBECONFIG="$work/root/kubeconfig"
export DOCKER_BUILDKIT=0 DOCKER_CONFIG="$work/docker"
mkdir -p "$DOCKER_CONFIG" "$cache"

# On some machines `kubectl` is a dispatcher that warns about versions; take the newest real one beside it.
kubectl=$(readlink -f "$(command -v kubectl)")
for real in "${kubectl%/*}"/kubectl.1.*; do [ -x "$real" ] && kubectl=$real; done
kubectl() { command "$kubectl" "$@"; }

milliseconds() { echo $(($(date +%s%N) / 1000000)); }
began=0
step() { began=$(milliseconds); printf '\n\033[1m%s\033[0m\n' "$*"; }
took() { printf '   \033[32m%s\033[0m (%d ms)\n' "$1" $(($(milliseconds) - began)); }
fail() { printf '\n\033[31mfailed: %s\033[0m\n' "$1" >&2; exit 1; }
# Tries a command until it succeeds, half a minute at most.
until_ok() {
  local end=$(($(milliseconds) + 30000))
  until "$@" >/dev/null 2>&1; do
    [ "$(milliseconds)" -lt $end ] || fail "waited in vain for: $*"
    sleep 0.05
  done
}

daemon=
start() {
  "$gantry" up "${flags[@]}" >>"$work/out.log" 2>>"$work/gantry.log" &
  daemon=$!
  local end=$(($(milliseconds) + 30000))
  until kubectl get nodes --no-headers 2>/dev/null | grep -qw Ready; do
    kill -0 "$daemon" 2>/dev/null || fail "the daemon ended"
    [ "$(milliseconds)" -lt $end ] || fail "the node did not become Ready"
    sleep 0.02
  done
}
clean_up() {
  local status=$?
  trap - EXIT INT TERM
  if [ $status -ne 0 ]; then
    echo "--- last lines of the daemon's log" >&2
    tail -n 30 "$work/gantry.log" >&2 || true
    kubectl get pods -o wide >&2 || true
    kubectl get events >&2 || true
  fi
  if [ -n "$daemon" ] && kill -0 "$daemon" 2>/dev/null; then
    kubectl delete deployment,statefulset,cronjob,job,service --all --wait=false >/dev/null 2>&1 || true
    docker ps -aq 2>/dev/null | xargs -r docker rm -f >/dev/null 2>&1 || true
    kill "$daemon" && wait "$daemon" || true
  fi
  "$gantry" reset --yes "${flags[@]}" >/dev/null 2>&1 || echo "left behind: $work" >&2
  rm -rf --one-file-system "$work"
  exit $status
}
trap clean_up EXIT INT TERM

# Debian, from its packages where no registry has it.
base_image() {
  if ! docker pull -q debian:bookworm-slim >/dev/null 2>&1; then
    if [ ! -s "$cache/bookworm.tar" ]; then
      rm -rf --one-file-system "$cache/bookworm"
      debootstrap --variant=minbase bookworm "$cache/bookworm" >"$work/debootstrap.log" 2>&1 || fail "debootstrap: $(tail -n 3 "$work/debootstrap.log")"
      rm -rf "$cache"/bookworm/var/cache/apt/archives/*.deb
      tar -C "$cache/bookworm" -cf "$cache/bookworm.tar.part" . && mv "$cache/bookworm.tar.part" "$cache/bookworm.tar"
      rm -rf --one-file-system "$cache/bookworm"
    fi
    docker import -c 'CMD ["bash"]' "$cache/bookworm.tar" debian:bookworm-slim >/dev/null
  fi
}

# Builds an image of a directory, and shows what failed.
build() {
  docker build -q -t "$1" "$2" >/dev/null 2>"$work/build.log" || { docker build -t "$1" "$2" || true; fail "build of $1"; }
}
