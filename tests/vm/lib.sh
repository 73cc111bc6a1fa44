# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
# shellcheck shell=bash
#
# The parts of scripts/vm, which sources this and has the options' variables.
# shellcheck disable=SC2154

# What a kernel says when something is wrong; tests/vm/init says "bad:".
vm_complaints='WARNING:|BUG:|\bBUG\b|KASAN|UBSAN|ODEBUG|INFO: (possible|task|rcu)'
vm_complaints+='|possible (circular|recursive|irq)|inconsistent lock|suspicious RCU'
vm_complaints+='|Call Trace|Oops|Kernel panic|general protection|Segfault with no mm'
vm_complaints+='|unregister_netdevice: waiting|leaked reference|refcount_t:|kmemleak:.*new'
vm_complaints+='|still in use|page allocation failure|Out of memory|tcpzc-vm: bad:'

# vm_module KERNEL-DIRECTORY [MAKE-ARGUMENT...]: builds kernel-driver/ against a
# kernel, in a copy, because several kernels have a build of it. Prints the
# module's file, or nothing if there is no driver.
vm_module() {
	local kernel=$1 tree

	shift
	[ -f "$root/kernel-driver/Makefile" ] || return 0
	tree=$root/build/vm/${kernel##*/}
	mkdir -p "$tree"
	(
		flock 9
		for part in engine kernel-driver; do
			mkdir -p "$tree/$part"
			vm_copy "$root/$part" "$tree/$part"
		done
		use_ccache "$root"
		make -s -C "$tree/kernel-driver" KDIR="$kernel" "$@" \
			>"$tree/build.log" 2>&1 9>&- ||
			die "kernel-driver: $(tail -n 40 "$tree/build.log")"
	) 9>"$tree/.lock" || return
	echo "$tree/kernel-driver/tcpzc.ko"
}

# What is tracked or new of the sources, with unchanged files keeping their time;
# what is gone there must go here.
vm_copy() {
	local name

	(cd "$1" && find . -type f \( -name '*.[chS]' -o -name 'Makefile*' \
		-o -name 'Kbuild*' -o -name '*.conf' -o -name '*.sh' -o -name '*.in' \) \
		! -name '*.mod.c' -print) | sort >"$2/.files"
	(cd "$2" && find . -type f -name '*.[ch]' ! -name '*.mod.c' -print) | sort |
		comm -13 "$2/.files" - | while read -r name; do rm "$2/$name"; done
	while read -r name; do
		cmp -s "$1/$name" "$2/$name" && continue
		mkdir -p "$2/${name%/*}"
		cp "$1/$name" "$2/$name"
	done <"$2/.files"
}

vm_provider() {
	if [ -z "$build" ]; then
		build=$("$root/scripts/build" --print-dir)
		mkdir -p "$build"
		"$root/scripts/build" rdma-core 2>"$build/vm-build.log" ||
			die "scripts/build: $(tail -n 40 "$build/vm-build.log")"
	fi
	leaks=${leaks:+leaks}
	variables=("LD_LIBRARY_PATH=$build/lib"
		"IBV_DRIVERS=$build/lib/libibverbs/libtcpzc"
		"TCPZC_VM=$kind-${kernel_name}" "TCPZC_VM_OUT=/run/out"
		"TERM=${TERM:-dumb}")
}

vm_prepare_uml() {
	kernel_name=$variant
	kernel_dir=$("$root/tests/vm/uml-kernel" "$variant")
	deb_install perftest ibverbs-utils rdmacm-utils iproute2 iperf3 kmod
	modules=$kernel_dir/modules
	tcpzc_ko=
	[ -z "$module" ] ||
		tcpzc_ko=$(vm_module "$kernel_dir" ARCH=um CC="ccache gcc")
	vm_provider
}

# The job that tests/vm/init reads.
vm_job() {
	local load_names=(ib_uverbs rdma_ucm ib_umad) more=() extra=()
	local command=("$@") project=$PWD

	[ -z "$tcpzc_ko" ] || extra=("$tcpzc_ko") load_names+=(tcpzc)
	IFS=, read -ra more <<<"$loads"
	local load=("${load_names[@]}" "${more[@]}")
	declare -p project modules extra load command variables results leaks \
		input output errors | sed 's/^declare -[-aAx]* //'
}

# A processor that no other bed of ours runs on, or the last one. It is ours as
# long as file descriptor 8 is open.
vm_cpu() {
	local cpus=()

	mapfile -t cpus < <(python3 -c 'import os
for cpu in sorted(os.sched_getaffinity(0), reverse=True): print(cpu)')
	for cpu in "${cpus[@]}"; do
		exec 8>"$tcpzc_cache/vm-cpu-$cpu.lock"
		flock -n 8 && return
	done
	cpu=${cpus[0]}
}

# Standard input and output are the machine's console, 3 takes the kernel's log, 5
# what the command says on its standard error.
vm_start_uml() {
	local machine

	# shellcheck disable=SC2054 # commas are the kernel's
	machine=("$kernel_dir/linux" seccomp=on "mem=$mem" root=/dev/root
		rootfstype=hostfs rootflags=/ ro "init=$root/tests/vm/init"
		"uml_dir=$dir/" umid=uml panic=-1 "vm_dir=$dir" printk.time=1
		ignore_loglevel console=tty1 con=null con1=null,fd:3 con2=null,fd:5)

	# One processor is one thread of the host's; where it moves it is slow.
	vm_cpu
	[ "$variant" = smp ] || machine=(taskset -c "$cpu" "${machine[@]}")
	[ "$variant" != debug ] || machine+=(kasan_multi_shot slab_debug=-)
	if [ "$input" ]; then
		"${machine[@]}" con0=fd:0,fd:1 2>"$dir/host"
	else
		vm_limited "${machine[@]}" con0=null,fd:1 2>"$dir/host"
	fi
}

# Whatever ends us ends the machine.
vm_limited() {
	local status=0 pid

	setpriv --pdeathsig TERM timeout -k 5 "$limit" "$@" </dev/null &
	pid=$!
	trap 'kill -TERM $pid 2>/dev/null' TERM INT HUP
	while wait $pid; status=$?; kill -0 $pid 2>/dev/null; do :; done
	trap - TERM INT HUP
	return $status
}

# The kernel waits for pipes only, hence cat.
vm_machine() {
	local status=0 cats=()

	exec 3> >(exec cat >"$dir/log")
	cats+=($!)
	exec 5> >(exec cat >&2)
	cats+=($!)
	if [ "$input" ]; then
		"vm_start_$kind" || status=$?
		stty sane || true
	else
		exec 4> >(exec cat)
		cats+=($!)
		"vm_start_$kind" >&4 || status=$?
		exec 4>&-
	fi
	exec 3>&- 5>&-
	wait "${cats[@]}"
	return $status
}

# What came of it, from the machine's own status.
vm_verdict() {
	local status bad

	if [ -s "$dir/status" ]; then
		status=$(cat "$dir/status")
	elif [ "$1" = 124 ]; then
		status=124
		note "ended after $limit s"
	else
		status=125
		note "the machine died (status $1): $(tail -n 5 "$dir/host")"
	fi
	bad=$(grep -aE "$vm_complaints" "$dir/log" || true)
	if [ "$check" ] && [ "$bad" ]; then
		note "the kernel complains: $(head -n 5 <<<"$bad")"
		[ "$status" != 0 ] || status=120
	fi
	if [ "$status" != 0 ] && [ -z "$input" ]; then
		note "the kernel's log:"
		sed -n '/tcpzc-vm: ready/,$p' "$dir/log" >&2
		[ ! -s "$dir/leaks" ] || head -n 200 "$dir/leaks" >&2
	fi
	return "$status"
}

vm_run() {
	local status=0

	dir=$(mktemp -d /tmp/tcpzc-vm.XXXXXX)
	trap 'rm -rf "$dir"' EXIT
	input='' output=tty0 errors=tty2
	[ $# -gt 0 ] || input=tty0 errors=tty0
	vm_job "$@" >"$dir/job"
	vm_machine || status=$?
	[ -z "$log" ] || cp "$dir/log" "$log"
	vm_verdict $status
}
