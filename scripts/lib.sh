# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
# shellcheck shell=bash
#
# Helpers shared by scripts/* and cmake/fetch-rdma-core; meant to be sourced.
# Callers run under "set -euo pipefail".

# Everything worth keeping between builds (source tarballs, compiler cache)
# lives here, so that throwing away a build directory costs little.
tcpzc_cache=${TCPZC_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/tcpzc}

note() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
}

die() {
	note "$@"
	exit 1
}

is_root() {
	[ "$(id -u)" -eq 0 ]
}

have() {
	command -v "$1" >/dev/null 2>&1
}

# with_progress LOG ABOUT COMMAND...: run it with its output in LOG, and say now and
# then how far it is: of about so many lines that begin as kbuild's do.
with_progress() {
	local log=$1 about=$2 status=0 hold teller
	shift 2

	: >"$log"
	exec {hold}> >(tell_progress "$log" "$about" 9>&-)
	teller=$!
	"$@" >"$log" 2>&1 9>&- {hold}>&- || status=$?
	exec {hold}>&-
	wait "$teller" || true
	return "$status"
}

# Ends when its standard input does, however that comes to end.
tell_progress() {
	local lines line percent status

	while :; do
		status=0
		read -r -t "${TCPZC_PROGRESS_SECONDS:-15}" || status=$?
		[ $status -gt 128 ] || return 0
		lines=$(grep -cE '^  [A-Z]' "$1" || true)
		line=$(grep -E '^  [A-Z]' "$1" | tail -n 1 | awk '{ print $NF }' || true)
		percent=$((lines * 100 / $2))
		[ "$percent" -lt 99 ] || percent=99
		note "$percent %${line:+, $line}"
	done
}

# deb_missing PACKAGE...: print those that dpkg does not have installed.
deb_missing() {
	local pkg

	for pkg; do
		dpkg-query -W -f '${db:Status-Status}' "$pkg" 2>/dev/null |
			grep -qx installed || echo "$pkg"
	done
}

# deb_install PACKAGE...: install what is missing, or say what to install.
# Without dpkg the distribution is not ours to manage: the build's own checks
# will name what they miss.
deb_install() {
	local missing

	have dpkg-query || return 0
	mapfile -t missing < <(deb_missing "$@")
	[ ${#missing[@]} -gt 0 ] || return 0
	is_root || die "these packages are missing and only root can install" \
		"them; as root run: apt-get install ${missing[*]}"
	note "installing ${missing[*]}"
	deb_apt_install "${missing[@]}" && return 0
	# Stale package lists are the usual reason; refresh them once.
	deb_apt update || die "apt-get update failed"
	deb_apt_install "${missing[@]}" ||
		die "could not install ${missing[*]}"
}

deb_apt_install() {
	deb_apt -y --no-install-recommends -o Dpkg::Use-Pty=0 install "$@"
}

# deb_apt ARGUMENT...: apt-get, which waits while others use apt or dpkg. By itself
# it waits for dpkg's locks only, and gives up at once if its lists are locked.
deb_apt() {
	local deadline=$((SECONDS + ${TCPZC_APT_WAIT:-600})) out status lock told=''

	while :; do
		status=0
		out=$(LC_ALL=C DEBIAN_FRONTEND=noninteractive apt-get -qq \
			-o DPkg::Lock::Timeout=2 "$@" </dev/null 2>&1) || status=$?
		lock=$(grep -m 1 -e 'Could not get lock' -e 'is another process using it' \
			<<<"$out") || break
		[ "$status" != 0 ] && [ $SECONDS -lt $deadline ] || break
		[ -n "$told" ] || note "waiting for others to be ready with apt: $lock"
		told=1
		sleep 1
	done
	[ -z "$out" ] || printf '%s\n' "$out" >&2
	return "$status"
}

# apt_archives: print "URI SUITE KEYRING" of the distribution's main archive (not
# its security archive, not third parties') as this machine's apt has it, one
# line per suite, most complete suite first. apt's own view is used rather than
# the files under /etc/apt, which come in two syntaxes.
apt_archives() {
	have apt-get || return 0
	# shellcheck disable=SC2016 # apt expands these, not the shell
	apt-get indextargets --format \
		'$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)|$(CODENAME)|' \
		'Created-By: Packages' 2>/dev/null |
		awk -F'|' '
			$3 != "main" || seen[$4, $5]++ { next }
			$1 == $2 && ($1 == "Debian" || $1 == "Ubuntu") &&
			$4 ~ /^[a-z+]+:\/\// {
				line = $4 " " $5 " /usr/share/keyrings/" \
					tolower($1) "-archive-keyring.gpg"
				if ($5 ~ /-/) later[++n] = line; else print line
			}
			END { for (i = 1; i <= n; i++) print later[i] }'
}

# apt_private DIR: set up a private apt state in DIR for the archives listed in
# DIR/sources.list and read their indices. Neither root nor lines in the system's
# configuration are needed. Use it by "export APT_CONFIG=DIR/apt.conf".
apt_private() {
	local dir=$1

	mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
	cat >"$dir/apt.conf" <<-CONF
		Dir::Etc::sourcelist "$dir/sources.list";
		Dir::Etc::sourceparts "/dev/null";
		Dir::State::lists "$dir/lists";
		Dir::State::status "/dev/null";
		Dir::Cache "$dir/cache";
		APT::Sandbox::User "";
		Acquire::Languages "none";
		Acquire::http::Timeout "30";
		APT::Update::Post-Invoke-Success "";
	CONF
	APT_CONFIG=$dir/apt.conf timeout 180 apt-get -qq update >/dev/null 2>&1
}

# apt_fetch URI FILE SHA256: download with apt's transports and proxies.
apt_fetch() {
	local helper=/usr/lib/apt/apt-helper

	[ -x $helper ] || return 1
	timeout 300 $helper -o APT::Sandbox::User= \
		-o Acquire::Retries=1 -o Acquire::http::Timeout=30 \
		download-file "$1" "$2.part" "SHA256:$3" >/dev/null 2>&1 &&
		mv "$2.part" "$2" && return 0
	rm -f "$2.part" "$2.part.FAILED"
	return 1
}

# sha256_is FILE SHA256
sha256_is() {
	[ -s "$1" ] && [ "$(sha256sum <"$1")" = "$2  -" ]
}

# use_ccache: compile through ccache with a cache of our own. Paths below the
# repository are made relative and the working directory is left out of the
# hash, so a fresh clone elsewhere hits what another one has compiled.
use_ccache() {
	have ccache || return 0
	export CCACHE_DIR=${CCACHE_DIR:-$tcpzc_cache/ccache}
	export CCACHE_BASEDIR=${CCACHE_BASEDIR:-$1}
	export CCACHE_NOHASHDIR=1
	mkdir -p "$CCACHE_DIR"
}

# libibverbs_release: the rdma-core release of the libibverbs that programs on
# this machine load, e.g. "56.1"; empty if there is none. rdma-core names the
# file libibverbs.so.1.<abi>.<release>, on every distribution.
libibverbs_release() {
	local path

	path=$(PATH=$PATH:/usr/sbin:/sbin ldconfig -p 2>/dev/null |
		awk '$1 == "libibverbs.so.1" { print $NF; exit }')
	[ -n "$path" ] || return 0
	basename "$(realpath "$path")" |
		sed -n 's/^libibverbs\.so\.1\.[0-9]*\.\([0-9][0-9.]*\)$/\1/p'
}
