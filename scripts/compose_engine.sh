#!/bin/sh
# Run a command with a Docker Engine, Compose and Buildx of its own, then leave nothing running:
#   scripts/compose_engine.sh COMMAND [ARGUMENT…]
# For Debian machines without Docker (root is needed): the packages are unpacked into a private
# folder, nothing is pulled, and the image python:3.11-slim is made of this machine's own packages.
#
# COMPOSE_TEST_CACHE  where packages and built images are kept (~/.cache/quadrate-rag/compose)
# COMPOSE_TEST_SUITE  the Debian suite of engine and Compose (forky; trixie has Compose 2.26)
# The command gets DOCKER_HOST and, for rendering, COMPOSE_BINARIES: this Compose and one of 2.26.
set -eu

cache=${COMPOSE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/quadrate-rag/compose}
suite=${COMPOSE_TEST_SUITE:-forky}
old_suite=trixie
host_suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")
run=$cache/run
engine=$cache/engine-$suite
base_image=python:3.11-slim
engine_pid=
command_pid=

say() { printf 'compose engine: %s\n' "$*" >&2; }
fail() {
  say "$*"
  exit 1
}

# --- packages ------------------------------------------------------------------------------------

apt_of() { # SUITE: the options that make apt see that suite alone, without root's own lists
  apt_folder=$run/apt-$1
  mkdir -p "$apt_folder/lists/partial" "$apt_folder/cache/archives/partial"
  mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
    grep -oE 'https?://[^ ]+/debian/?( |$)' | head -n 1 | tr -d ' ')
  printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' \
    "${mirror:-http://deb.debian.org/debian}" "$1" > "$apt_folder/list"
  printf '%s\n' -qq "-oDir::Etc::sourcelist=$apt_folder/list" -oDir::Etc::sourceparts=- \
    "-oDir::State::lists=$apt_folder/lists" "-oDir::Cache=$apt_folder/cache" \
    -oDir::State::status=/dev/null -oAPT::Sandbox::User=root
}

unpack() { # SUITE FOLDER PACKAGE…: once; the folder's name is only there when it is whole
  unpacked_suite=$1 folder=$2
  shift 2
  [ -d "$folder" ] && return
  say "fetching from Debian $unpacked_suite: $*"
  options=$(apt_of "$unpacked_suite")
  rm -rf "$folder.part"
  mkdir -p "$folder.part" "$run/debs-$unpacked_suite"
  # shellcheck disable=SC2086  # one option a word
  (cd "$run/debs-$unpacked_suite" && apt-get $options update && apt-get $options download "$@")
  for package in "$run/debs-$unpacked_suite"/*.deb; do
    dpkg-deb -x "$package" "$folder.part"
  done
  mv "$folder.part" "$folder"
}

get_packages() {
  missing=
  for tool in runc iptables; do command -v $tool > /dev/null || missing="$missing $tool"; done
  if [ -n "$missing" ]; then
    apt-get -qq update
    # shellcheck disable=SC2086
    apt-get -qq install -y --no-install-recommends $missing > /dev/null
  fi
  unpack "$suite" "$engine" docker.io docker-cli docker-compose docker-buildx containerd
  # The init of containers, which are made of this machine's packages: of its suite and C library.
  unpack "$host_suite" "$tini" tini
  unpack $old_suite "$cache/compose-$old_suite" docker-compose
}

lay_out_tools() {
  mkdir -p "$run/bin" "$run/config/cli-plugins"
  for tool in docker dockerd docker-proxy containerd containerd-shim-runc-v2; do
    ln -s "$(ls "$engine"/usr/bin/$tool "$engine"/usr/sbin/$tool 2> /dev/null)" "$run/bin/$tool"
  done
  ln -s "$(ls "$tini"/usr/bin/tini-static 2> /dev/null || echo "$tini/usr/bin/tini")" \
    "$run/bin/docker-init"
  ln -s "$engine"/usr/libexec/docker/cli-plugins/* "$run/config/cli-plugins/"
  # An engine that finds this name takes reservations of GPUs; what it would mount is left out.
  printf '#!/bin/sh\nexit 0\n' > "$run/bin/nvidia-container-runtime-hook"
  # The seeds write both `docker compose` and `docker-compose`.
  printf '#!/bin/sh\nexec docker compose "$@"\n' > "$run/bin/docker-compose"
  chmod +x "$run/bin/nvidia-container-runtime-hook" "$run/bin/docker-compose"
}

# --- the engine ----------------------------------------------------------------------------------

remember_network() { # a table that is not there yet is remembered as an empty one
  for family in iptables ip6tables; do
    $family-save > "$run/$family" 2> /dev/null || continue
    for table in raw filter nat; do
      ! grep -qx "\*$table" "$run/$family" || continue
      accept=$([ $table != filter ] || echo ':FORWARD ACCEPT [0:0]')
      printf '*%s\n%sCOMMIT\n' $table "${accept:+$accept
}" >> "$run/$family"
    done
  done
  cat /proc/sys/net/ipv4/ip_forward > "$run/ip_forward"
}

restore_network() {
  ip link delete docker0 2> /dev/null || true
  for family in iptables ip6tables; do
    [ ! -s "$run/$family" ] || $family-restore < "$run/$family" ||
      say "$family could not be put back"
  done
  [ ! -e "$run/ip_forward" ] || cat "$run/ip_forward" > /proc/sys/net/ipv4/ip_forward
}

start_engine() {
  device=$(ip -o route show default | awk '{print $5; exit}')
  mtu=$(cat "/sys/class/net/${device:-lo}/mtu")
  dockerd --data-root "$cache/root-$suite" --exec-root "$run/exec" --pidfile "$run/dockerd.pid" \
    -H "$DOCKER_HOST" --mtu "$mtu" > "$run/dockerd.log" 2>&1 9>&- &
  engine_pid=$!
  for _ in $(seq 120); do
    docker version > /dev/null 2>&1 && return
    kill -0 "$engine_pid" 2> /dev/null || break
    sleep 0.25
  done
  tail -n 20 "$run/dockerd.log" >&2
  fail "the engine did not start"
}

remove_what_runs() {
  docker ps -aq 2> /dev/null | xargs -r docker rm -f -v > /dev/null 2>&1 || true
  docker volume ls -q 2> /dev/null | xargs -r docker volume rm -f > /dev/null 2>&1 || true
  docker network prune -f > /dev/null 2>&1 || true
  # What is kept for the next run has a size: what was replaced goes, and the oldest of the rest.
  docker image prune -f > /dev/null 2>&1 || true
  docker buildx prune -f --max-used-space 4gb > /dev/null 2>&1 || true
}

stop_engine() { # PID
  kill "$1" 2> /dev/null || true
  for _ in $(seq 60); do
    kill -0 "$1" 2> /dev/null || return 0
    sleep 0.5
  done
  kill -9 "$1" 2> /dev/null || true
  kill -9 "$(cat "$run/exec/containerd/containerd.pid" 2> /dev/null)" 2> /dev/null || true
}

clear_run_folder() {
  awk -v below="$cache/" 'index($2, below) == 1 {print $2}' /proc/mounts | sort -r |
    while read -r mounted; do umount -l "$mounted" || true; done
  rm -rf "$run"
}

clean_up_after_a_killed_run() { # nothing of ours runs: we hold the lock
  [ -d "$run" ] || return 0
  left=$(cat "$run/dockerd.pid" 2> /dev/null || true)
  if [ -n "$left" ] && grep -qs "$run" "/proc/$left/cmdline"; then
    say "stopping what an earlier run left behind"
    stop_engine "$left"
  fi
  restore_network
  clear_run_folder
}

clean_up() {
  code=$?
  trap '' INT TERM HUP
  set +e
  if [ -n "$engine_pid" ]; then
    remove_what_runs
    stop_engine "$engine_pid"
    restore_network
  fi
  [ "$code" -eq 0 ] || [ ! -e "$run/dockerd.log" ] || cp "$run/dockerd.log" "$cache/dockerd.log"
  clear_run_folder
  exit "$code"
}

# --- the base image ------------------------------------------------------------------------------

host_packages() { # essential packages, Python and all they depend on
  wanted=$(dpkg-query -W -f '${Package} ${Essential}\n' | awk '$2 == "yes" {print $1}')
  # shellcheck disable=SC2086
  apt-cache depends --installed --recurse --no-recommends --no-suggests --no-conflicts \
    --no-breaks --no-replaces --no-enhances $wanted python3 python3-venv python3-pip \
    ca-certificates passwd tzdata libstdc++6 libgomp1 2> /dev/null |
    grep -E '^[a-z0-9]' | sort -u |
    xargs dpkg-query -W -f '${Package} ${db:Status-Abbrev}\n' 2> /dev/null |
    awk '$2 == "ii" {print $1}'
}

host_files() { # as they lie in a merged /usr
  host_packages | xargs dpkg -L | grep -v -E '^/usr/share/(doc|man|locale)/|^/\.$' |
    sed -E 's,^/,,; s,^(bin|sbin|lib|lib32|lib64)/,usr/\1/,' |
    grep -v -x -E 'bin|sbin|lib|lib32|lib64' | sort -u
  printf '%s\n' bin sbin lib lib32 lib64 etc/passwd etc/group etc/shadow etc/nsswitch.conf \
    etc/ld.so.cache
}

make_base_image() {
  made_of=$({ dpkg-query -W; cat /etc/ssl/certs/ca-certificates.crt "$0"; } | cksum | tr ' ' -)
  [ "$(docker image inspect -f '{{.Config.Labels.made_of}}' $base_image 2> /dev/null)" != "$made_of" ] ||
    return 0
  say "making $base_image of this machine's packages"
  mkdir "$run/base"
  host_files | while read -r file; do
    if [ -e "/$file" ] || [ -L "/$file" ]; then echo "$file"; fi
  done > "$run/base/files"
  tar -C / --no-recursion --warning=no-file-changed -cf - -T "$run/base/files" |
    docker import - quadrate-test/host:1 > /dev/null
  cp /etc/ssl/certs/ca-certificates.crt "$run/base/"
  cat > "$run/base/Dockerfile" <<- END
	FROM quadrate-test/host:1
	ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin LANG=C.UTF-8
	COPY ca-certificates.crt /etc/ssl/certs/
	RUN mkdir -p /usr/local/bin /tmp && chmod 1777 /tmp \\
	 && ln -sf /usr/bin/python3 /usr/local/bin/python \\
	 && ln -sf /usr/bin/python3 /usr/local/bin/python3 \\
	 && rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
	LABEL made_of=$made_of
	CMD ["python3"]
	END
  docker build -q -t $base_image "$run/base" > /dev/null
}

# --- all of it -----------------------------------------------------------------------------------

[ $# -gt 0 ] || fail "usage: scripts/compose_engine.sh COMMAND [ARGUMENT…]"
[ "$(id -u)" = 0 ] || fail "root is needed to start an engine"
command -v dpkg-deb > /dev/null || fail "the engine comes from Debian packages: dpkg is missing"
mkdir -p "$cache"
cache=$(cd "$cache" && pwd -P) run=$cache/run engine=$cache/engine-$suite
tini=$cache/tini-$host_suite
exec 9> "$cache/lock"
flock -n 9 || fail "another run uses $cache"
clean_up_after_a_killed_run
! pidof dockerd > /dev/null || fail "a Docker Engine runs here already; two break each other's \
network. Stop it, or run this in a virtual machine."
mkdir -p "$run"
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

get_packages
lay_out_tools
unset DOCKER_BUILDKIT DOCKER_CONTEXT COMPOSE_FILE COMPOSE_PROFILES COMPOSE_PROJECT_NAME
export PATH="$run/bin:$PATH" DOCKER_HOST="unix://$run/docker.sock" DOCKER_CONFIG="$run/config"
export BUILDX_CONFIG="$run/buildx" COMPOSE_ANSI=never COMPOSE_PROGRESS=plain COMPOSE_MENU=false
plugin=usr/libexec/docker/cli-plugins/docker-compose
export COMPOSE_BINARIES="$engine/$plugin:$cache/compose-$old_suite/$plugin" COMPOSE_TEST_ENGINE="$run"
remember_network
start_engine
remove_what_runs
make_base_image
say "$(docker version --format 'engine {{.Server.Version}}'), $(docker compose version)"

# In the background, so that a signal to this script is not kept waiting; a background command
# would get no input and no Ctrl+C.
exec 3<&0
env --default-signal=INT "$@" <&3 9>&- &
command_pid=$!
trap 'stopped=130' INT
trap 'stopped=143; kill "$command_pid" 2> /dev/null' TERM HUP
stopped=
while :; do
  code=0
  wait "$command_pid" || code=$?
  kill -0 "$command_pid" 2> /dev/null || break
done
exit "${stopped:-$code}"
